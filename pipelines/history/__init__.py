"""State and features from the past."""
