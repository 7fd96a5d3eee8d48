"""What goes out: how records are made and encoded."""
