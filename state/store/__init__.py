"""Where a key's bytes lie: as an operator sees them, in RocksDB, in memory before it."""
