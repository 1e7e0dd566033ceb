"""``python -m mmt``: the ``mmt`` command."""

from mmt.cli.main import main

if __name__ == "__main__":
    main()
