"""From bytes to an event."""
