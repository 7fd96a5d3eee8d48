"""The hops of the job that watches: windows of decisions, drift, comparison."""
