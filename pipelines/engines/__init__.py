"""What runs a job, and knows none."""
