"""The command `verdict`."""
