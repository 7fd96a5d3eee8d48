"""Commands to a job that runs."""
