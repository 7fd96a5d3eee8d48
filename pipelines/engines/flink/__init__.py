"""PyFlink in thread mode."""
