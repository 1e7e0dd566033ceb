"""Processes that have torch, fairseq2 and mmt loaded when they begin: forks of one that has loaded them.

``run`` and ``Popen`` are ``subprocess``'s, for ``python -m MODULE ...`` and ``python -c CODE ...``; another
command starts as ever. A fresh Python needs seconds of processor time to load these packages, a fork needs none.
In all else a fork is a process: it is killed, stopped and waited for, and has files, terminal, limits and
environment of its own.

Not for tests of a start itself, of what is imported, of an installed command, or of variables that Python or a
library reads when it is loaded: those take ``subprocess``. ``preexec_fn`` is pickled. Torch has one thread,
or as many as ``OMP_NUM_THREADS`` says.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import inspect
import os
import pickle
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

_ROOT = Path(__file__).parents[1]
_HEAD = struct.Struct("qq")  # bytes that follow; a process id
_HIGH = 200  # first number of the descriptors that the forks must not see
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_prctl = ctypes.CDLL(None).prctl
_Fresh = subprocess.Popen  # a test may put Popen in its place
_NAMES = list(inspect.signature(_Fresh._execute_child).parameters)[1:]  # type: ignore[attr-defined]

LOADED = (
    "tests.worlds",
    "mmt.cli.train",
    "mmt.cli.features",
    "mmt.cli.translate",
    "mmt.experiments.compare",
    "mmt.features.extract",
    "mmt.inference.torch_runtime",
    "mmt.training.recipe",
    "mmt.training.run",
    "torch.distributed.run",
    "torch.distributed.elastic.agent.server.local_elastic_agent",
    "torch.distributed.elastic.rendezvous.c10d_rendezvous_backend",
)
"""What the waiting process imports. A fork imports the rest itself."""


class Request(NamedTuple):
    """A process to begin."""

    words: list[str]
    """After ``python``: ``-m`` or ``-c``, module or code, and arguments."""
    numbers: list[int]
    """As which descriptors it gets those that come with the request."""
    folder: str
    environment: dict[str, str]
    new_session: bool
    preexec: Callable[[], object] | None


# --- who asks ---------------------------------------------------------------------------------------------


class Server:
    """Who forks: reached by ``link``."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def begin(self, request: Request, descriptors: list[int]) -> int:
        """Begins a child of this process; its id."""
        body = pickle.dumps(request)
        _prctl(_SUBREAPER, 1, 0, 0, 0)  # the fork's parent ends at once: then it is a child of ours
        try:
            socket.send_fds(self._link, [_HEAD.pack(len(body), 0)], descriptors)
            self._link.sendall(body)
            _, pid = _HEAD.unpack(_receive(self._link, _HEAD.size))
        finally:
            _prctl(_SUBREAPER, 0, 0, 0, 0)
        return int(pid)


_server: Server | None = None


def _running() -> Server:
    global _server
    if _server is None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        environment["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # a process with threads must not fork
        process = _Fresh(command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        atexit.register(lambda: (ours.close(), process.wait()))
        _server = Server(ours)
    return _server


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen``, whose Python processes are forks."""

    def _execute_child(self, *given: Any) -> None:
        of = dict(zip(_NAMES, given, strict=True))
        plain = isinstance(of["args"], str | bytes | os.PathLike) or of["shell"]
        words = [] if plain else [os.fspath(word) for word in of["args"] if word != "-u"]
        if not words or words[0] != sys.executable or words[1] not in ("-m", "-c"):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        unknown = {"gid": None, "gids": None, "uid": None, "umask": -1, "process_group": -1}
        if any(of[name] != usual for name, usual in unknown.items()):
            raise ValueError(f"a warm process knows none of {', '.join(unknown)}")
        pipes = [of[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        descriptors = {0: pipes[0], 1: pipes[3], 2: pipes[5]} | {number: number for number in of["pass_fds"]}
        descriptors = {number: own if own != -1 else number for number, own in descriptors.items()}
        request = Request(
            words[1:],
            list(descriptors),
            os.fspath(of["cwd"] or os.getcwd()),
            dict(os.environ if of["env"] is None else of["env"]),
            bool(of["start_new_session"]),
            of["preexec_fn"],
        )
        self.pid = _running().begin(request, list(descriptors.values()))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(
    *args: Any,
    input: str | bytes | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **more: Any,
) -> subprocess.CompletedProcess[Any]:
    """``subprocess.run`` with ``Popen``."""
    if capture_output:
        more |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        more["stdin"] = subprocess.PIPE
    with Popen(*args, **more) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _receive(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (more := link.recv(size - len(found))):
            raise EOFError("nobody forks any more")
        found += more
    return found


# --- who forks --------------------------------------------------------------------------------------------


def serve(link: socket.socket) -> tuple[Request, list[int]] | None:
    """Forks for each request, until ``link`` is closed: then None. In a fork: what it shall be."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(link, _HEAD.size, 16)
        if not head:
            return None
        body = _receive(link, _HEAD.unpack(head)[0])
        answer, pid_of_fork = os.pipe()
        between = os.fork()
        if between == 0:
            between = os.getpid()
            pid = os.fork()
            if pid:
                os.write(pid_of_fork, _HEAD.pack(0, pid))
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0.001)
            for own in (answer, pid_of_fork, link.detach()):
                os.close(own)
            return pickle.loads(body), descriptors  # noqa: S301  # from the process that has begun this one
        os.waitpid(between, 0)
        link.sendall(os.read(answer, _HEAD.size))
        for own in (answer, pid_of_fork, *descriptors):
            os.close(own)


def become(request: Request, descriptors: list[int]) -> None:
    """What Python does between its start and the program."""
    if request.new_session:
        os.setsid()
    high = [fcntl.fcntl(own, fcntl.F_DUPFD_CLOEXEC, _HIGH) for own in descriptors]
    for received in descriptors:
        os.close(received)
    for own, number in zip(high, request.numbers, strict=True):
        os.dup2(own, number)
    # What this process had opened is closed; what it received stays.
    for own in {int(name) for name in os.listdir("/proc/self/fd")} - set(request.numbers):
        try:
            os.close(own)
        except OSError:  # that of the listing itself
            continue
    os.environ.clear()
    os.environ.update(request.environment)
    if threads := os.environ.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    os.chdir(request.folder)
    if request.preexec is not None:
        request.preexec()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        lines = number == 2 or os.isatty(number)
        errors = "backslashreplace" if number == 2 else "strict"
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False, buffering=1 if lines else -1)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    first = request.folder if request.words[0] == "-m" else ""
    paths = [path for path in request.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [first, *paths, *(path for path in sys.path if path not in (str(_ROOT), *paths))]


def execute(words: list[str]) -> None:
    """Runs the module or code as Python would."""
    kind, what, *arguments = words
    np.random.seed()  # else all forks draw alike
    sys.argv = [kind, *arguments]
    if kind == "-m":
        if what == "torch.distributed.run":  # its workers are forks, too: of one that has no threads yet
            _fork_server()
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(what, "<string>", "exec"), module.__dict__)  # noqa: S102  # a test's own code


def run_and_end(words: list[str]) -> NoReturn:
    """Runs the module or code and ends as Python does, but leaves its objects to the kernel.

    Python would visit all that the libraries made, which the fork shares: half a second.
    """
    code: object = None
    try:
        execute(words)
    except SystemExit as end:
        code = end.code
    if not (code is None or isinstance(code, int)):
        sys.exit(code)  # which prints it
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)  # which has a message and an exit code for it
    os._exit((code or 0) & 0xFF)


def _fork_server() -> None:
    """From here on the workers that this process launches are warm."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    # For its log it looks through all modules for the files of all callers, which takes two seconds in all.
    dynamic_rendezvous.get_method_name = lambda depth=2: sys._getframe(depth).f_code.co_name

    global _server
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        if (found := serve(theirs)) is None:
            os._exit(0)
        become(*found)
        run_and_end(found[0].words)
    theirs.close()
    _server = Server(ours)
    subprocess_handler.Popen = Popen  # type: ignore[misc]


def main() -> None:
    import gc
    import importlib

    from tests.parsed import keep_parsed

    for name in LOADED:
        importlib.import_module(name)
    keep_parsed()
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"a process of {threads} threads must not fork"
    gc.freeze()  # so that a fork's collector leaves the pages shared
    found = serve(socket.socket(fileno=int(sys.argv[1])))
    if found is None:
        return
    try:
        become(*found)
    except BaseException:
        traceback.print_exc()
        os._exit(255)
    run_and_end(found[0].words)


if __name__ == "__main__":
    from tests import warm  # whose classes are those of the process that asks

    warm.main()
