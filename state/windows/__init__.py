"""Exact aggregates over one key's events."""
