"""Rows beside the stream, for lookups."""
