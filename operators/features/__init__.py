"""From an event and what is remembered to numbers."""
