"""What is remembered: windows, the packed record of an entity, the keyed stores."""
