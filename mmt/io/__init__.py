"""Files and processes: reading, atomic writing, shards, signals. No torch at import."""
