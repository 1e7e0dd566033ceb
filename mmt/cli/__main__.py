"""``python -m mmt.cli``: the ``mmt`` command."""

import os

from mmt.cli.main import main
from mmt.io.signals import ENDS_WITH_PARENT, end_with_parent

if __name__ == "__main__":
    if os.environ.pop(ENDS_WITH_PARENT, None):
        end_with_parent()
    main()
