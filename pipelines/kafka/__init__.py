"""The broker: clients, topics, records read back."""
