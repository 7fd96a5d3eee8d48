"""Records outside of Kafka, and the schemas of those inside."""
