"""A model that has proved itself, and what it says of itself."""
