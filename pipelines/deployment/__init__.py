"""A job on a cluster, now and next."""
