"""From a score to an action."""
