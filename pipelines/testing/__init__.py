"""Users' tests of their pipelines."""
