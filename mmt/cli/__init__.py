"""The ``mmt`` command: one file a command."""
