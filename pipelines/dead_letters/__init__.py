"""Records that were refused: read, shown, sent again."""
