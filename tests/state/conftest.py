"""Machines of CI are slow by turns: a property's examples have no deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile("verdict", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("verdict")
