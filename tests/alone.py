"""Runs commands one after the other in this process, and says what each of them did beside its work.

python alone.py JSON: a list of [module, argument, ...]; prints a line for each thing found, and ends with "done".
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

command = ""


def found(what: str) -> None:
    print(f"{command}: {what}", flush=True)


def look(event: str, given: tuple[Any, ...]) -> None:
    """Reports attempts to reach another machine (an audit hook, see PEP 578)."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        found(f"{event} {given[0]}")
    elif event in ("socket.connect", "socket.sendto") and isinstance(given[1], tuple):
        found(f"{event} {given[1]}")


def main() -> None:
    global command
    sys.path.remove(str(Path(__file__).parent))  # where eval and data_prep are tests of those packages
    sys.addaudithook(look)
    for name, *arguments in json.loads(sys.argv[1]):
        command = " ".join([name, *arguments[:1]])
        with open(os.devnull, "w") as nowhere:
            sys.stdout, out = nowhere, sys.stdout
            code: Any = 0
            try:
                importlib.import_module(name).main(arguments, standalone_mode=False)
            except SystemExit as end:
                code = end.code
            except BaseException:
                code = traceback.format_exc()
            sys.stdout = out
        if code:
            found(f"failed: {code}")
        for path in (*Path.home().rglob("*"), *Path.cwd().iterdir()):
            found(f"left {path}")
    print("done")


if __name__ == "__main__":
    main()
