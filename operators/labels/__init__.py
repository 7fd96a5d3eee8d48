"""What came of an event."""
