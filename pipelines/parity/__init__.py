"""What was decided, held against a replay."""
