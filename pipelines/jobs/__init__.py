"""Which hops a pipeline has."""
