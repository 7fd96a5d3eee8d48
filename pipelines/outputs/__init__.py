"""What came out, read back."""
