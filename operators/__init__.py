"""What happens to one record: decode, features, score, decide, compare, drift."""
