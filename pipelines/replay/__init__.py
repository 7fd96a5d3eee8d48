"""The past, hop by hop, in its recorded order."""
