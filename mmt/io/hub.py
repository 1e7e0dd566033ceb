"""Models on the Hugging Face hub, by huggingface_hub: downloads into its cache, and uploads.

Access tokens are huggingface_hub's business: it reads them from where ``hf auth login`` or ``HF_TOKEN`` put them.
So are the cache (``HF_HOME``), offline use (``HF_HUB_OFFLINE=1``) and other servers (``HF_ENDPOINT``).
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.text_files import file_checksum, parse_json

if TYPE_CHECKING:
    import types

PREFIX = "hub:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TOKEN = re.compile(r"\b(hf|api_org)_\w+")
_CARD = "mmt.json"
_FILE = re.compile(r"(?:\w+/)?\w[\w.-]*")  # in one folder at most; nothing that is a pattern to huggingface_hub
_ATTEMPTS = 2


@dataclass(frozen=True)
class HubModel:
    """A model's repository, OWNER/NAME, and a branch, tag or commit; None is the main branch."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, name: str, revision: str | None = None) -> HubModel:
        """Reads ``OWNER/NAME``, ``OWNER/NAME@REVISION``, with or without ``hub:`` before it.

        Args:
            revision: instead of one in ``name``.
        Raises:
            MMTError: it is none of these, or has two revisions.
        """
        repo, at, own = name.removeprefix(PREFIX).partition("@")
        if not _NAME.fullmatch(repo) or (at and not own) or (own and revision):
            raise MMTError(f"{name}: expected OWNER/NAME or OWNER/NAME@REVISION, as on the Hugging Face hub.")
        return cls(repo, own or revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(name: object) -> bool:
    """Whether ``name`` begins with ``hub:``."""
    return str(name).startswith(PREFIX)


@functools.cache
def hub_model(name: str, *, download: bool = True) -> Path:
    """The folder of ``hub:OWNER/NAME[@REVISION]`` in the cache of huggingface_hub.

    A process asks the hub once for each name, so that all that it reads of a model is of one commit.

    Args:
        download: as of ``fetch``.
    Raises:
        MMTError: as ``fetch``, or the name is none.
    """
    return fetch(HubModel.parse(name), download=download)


def fetch(model: HubModel, *, download: bool = True) -> Path:
    """The folder of a model, in the cache of huggingface_hub; what is missing there is downloaded.

    ``mmt.json`` is downloaded first, then the files that it names, of the same commit, and nothing else. An
    interrupted download resumes. Each file's checksum is compared with the one that the hub names, once; a
    damaged file is downloaded again. Without a network, the cached files are used.

    Args:
        download: whether the hub may be asked; False looks into the cache alone.
    Raises:
        MMTError: there is no such repository or revision, it is no model of mmt, it cannot be reached and is not
            in the cache, or its checksums are wrong; or huggingface_hub is missing.
    """
    hub = _library(str(model))
    for _ in range(_ATTEMPTS):
        offline = {"local_files_only": not download}
        card = _cached(model, hub.hf_hub_download, filename=_CARD, revision=model.revision, **offline)
        folder = card.parent  # named after the commit
        if not (damaged := _damaged(folder)):
            names = _files_of(card, model)
            if not all((folder / name).is_file() for name in names):
                _cached(model, hub.snapshot_download, revision=folder.name, allow_patterns=names, **offline)
                damaged = _damaged(folder)
            if missing := [name for name in names if not (folder / name).is_file()]:
                raise MMTError(
                    f"{model}: {missing[0]} is missing, which its {_CARD} names. Rerun the same command with a "
                    "network; if that does not help, tell its owner."
                )
        if not damaged:
            return folder
        for path in damaged:
            with suppress(OSError):
                path.resolve().unlink()
                path.unlink()
    listed = ", ".join(path.name for path in damaged)
    raise MMTError(f"{model}: wrong checksum of {listed}, twice. Tell its owner, or name another revision.")


def _cached(model: HubModel, download: Callable[..., Any], **settings: Any) -> Path:
    """What a download of huggingface_hub returns. Raises MMTError."""
    try:
        return Path(download(model.repo, **settings))
    except Exception as error:  # of the network, the disk, the hub's answer: no common class
        kinds = _library(str(model)).errors
        if isinstance(error, kinds.EntryNotFoundError) and not isinstance(error, kinds.LocalEntryNotFoundError):
            raise MMTError(f"{model}: has no {_CARD}, so no model of mmt.") from None
        if settings["local_files_only"]:
            raise MMTError(
                f"{model}: not in the cache of models of the Hugging Face hub. mmt info {model} downloads it."
            ) from None
        raise MMTError(
            f"{model}: the Hugging Face hub gave no such model ({_reason(error)}). Check name, revision and "
            "connection; rerun the same command to resume a download. A private model needs hf auth login."
        ) from None


def _files_of(card: Path, model: HubModel) -> list[str]:
    """The names of the files that a model's ``mmt.json`` names. Raises MMTError."""
    try:
        names = list(parse_json(card.read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    if not names or not all(isinstance(name, str) and _FILE.fullmatch(name) for name in names):
        raise MMTError(
            f"{model}: expected an {_CARD} with the model's files and their checksums, found another. Tell its "
            "owner to publish it with mmt push."
        )
    return names


def upload(
    repo: str,
    files: Mapping[str, Path | bytes],
    *,
    message: str,
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Uploads files to a repository in one commit; creates the repository, or the branch, if there is none.

    Args:
        files: by the path in the repository: a file, or its content.
        revision: the branch; None is the main one.
    Returns:
        The address of the commit.
    Raises:
        MMTError: the hub refuses it or cannot be reached; or huggingface_hub is missing.
    """
    HubModel.parse(repo)
    hub = _library(repo)
    api = hub.HfApi()
    contents = {name: content if isinstance(content, bytes) else str(content) for name, content in files.items()}
    operations = [
        hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()
    ]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=message, revision=revision)
    except Exception as error:  # as above
        raise MMTError(
            f"{repo}: the Hugging Face hub did not take it ({_reason(error)}). Check the name and the connection, "
            "and log in with a token that may write: hf auth login."
        ) from None
    return str(commit.commit_url)


def _library(name: str) -> types.ModuleType:
    try:
        import huggingface_hub.utils  # takes half a second, and is no part of the small install
    except ModuleNotFoundError:
        raise MMTError(f"{name}: the package huggingface_hub is missing. pip install 'mmt-toolkit[hf]'.") from None
    hub: types.ModuleType = huggingface_hub
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    return hub


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None and "connection" in str(error):  # which says more than to check that
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return _TOKEN.sub(r"\1_***", lines[0].rstrip(".") if lines else type(error).__name__)


def _damaged(folder: Path) -> list[Path]:
    """The files of a snapshot whose content has another checksum than the hub names.

    In the cache a file is a link to a blob that is called by its checksum: SHA-256 of a large file, git's SHA-1 of
    a small one. Blobs that were compared before are not compared again.
    """
    seen = folder.parents[1] / "mmt-verified"
    known: set[str] = set()
    with suppress(OSError, UnicodeError):
        known = set(seen.read_text(encoding="ascii").split())
    files = {path: path.resolve() for path in sorted(folder.rglob("*")) if path.is_file()}
    fresh = {path: blob for path, blob in files.items() if _id(blob) not in known}
    damaged = [path for path, blob in fresh.items() if not _is_whole(blob)]
    if fresh and not damaged:
        with suppress(OSError, MMTError):  # a cache that is only read is compared each time
            write_whole(seen, "".join(f"{one}\n" for one in sorted(known | {_id(b) for b in fresh.values()})))
    return damaged


def _id(blob: Path) -> str:
    found = blob.stat()
    return f"{blob.name}-{found.st_size}-{found.st_mtime_ns}"


def _is_whole(blob: Path) -> bool:
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return file_checksum(blob) == blob.name
    if re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest: Any = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
        digest.update(blob.read_bytes())
        return bool(digest.hexdigest() == blob.name)
    return True  # a server that names no checksum
