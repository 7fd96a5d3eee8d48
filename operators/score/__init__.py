"""The hops of the job that decides."""
