"""What a pipeline file says, checked."""
