"""``mmt push``: publishes a model on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.errors import MMTError
from mmt.io.hub import HubModel, is_hub_name, upload
from mmt.io.text_files import parse_json


@click.command("push", cls=Command)
@click.argument("model", type=PATH)
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--licence", "--license", required=True, metavar="ID", help="The model's licence, such as mit or cc-by-4.0."
)
@click.option("--result", type=PATH, help="result.json of mmt evaluate result, or its folder: scores of the card.")
@click.option(
    "--evidence", type=PATH, help="evidence.json of mmt evidence, or its folder: how image use was shown."
)
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--revision", metavar="BRANCH", help="Branch to upload to.  [default: the main one]")
@click.option("--dry-run", is_flag=True, help="Print the model card and the files, and upload nothing.")
def push_command(
    model: Path,
    repo: str,
    licence: str,
    result: Path | None,
    evidence: Path | None,
    private: bool,
    revision: str | None,
    dry_run: bool,
) -> None:
    """Publish MODEL on the Hugging Face hub, with a generated model card.

    MODEL is a model folder or an exported model. Log in before, with hf auth login.
    """
    # Imported here: the help needs none of it.
    from mmt.inference.onnx_runtime import is_exported
    from mmt.model.card import CARD, check_files, read_card
    from mmt.report.hub_card import hub_card

    if HubModel.parse(repo).revision is not None or is_hub_name(repo):
        raise MMTError(f"{repo}: expected OWNER/NAME alone. Name a branch with --revision.")
    card = read_card(model)
    if (base := card.text.get("name")) and ("folder" in card.text and Path(base.partition(":")[2]).exists()):
        raise MMTError(
            f"{model}: has only what was trained on {base}, a folder of this machine, which others lack. "
            "Export the complete model with mmt export, and push that."
        )
    check_files(model, card, card.sha256)
    found = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
    files: dict[str, Path | bytes] = {name: path for name, path in found.items() if not _is_hidden(name)}
    if missing := [name for name in card.sha256 if name not in files]:
        raise MMTError(f"{model}: {missing[0]} is missing, which {CARD} names. Copy the model folder again.")
    text = hub_card(
        repo,
        card,
        licence=licence,
        exported=is_exported(model),
        result=_read(result, "result.json"),
        evidence=_read(evidence, "evidence.json"),
    )
    if dry_run:
        click.echo(text)
        click.echo(f"files: {', '.join(files)}", err=True)
        return
    files["README.md"] = text.encode()
    url = upload(
        repo, files, message=f"Upload {model.resolve().name} with mmt", private=private, revision=revision
    )
    click.echo(url)


def _read(path: Path | None, name: str) -> dict[str, Any] | None:
    """A JSON object of a file, or of the file ``name`` in a folder."""
    if path is None:
        return None
    file = path / name if path.is_dir() else path
    try:
        value = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MMTError(f"{file}: expected {name}, found something else ({error}).") from None
    if not isinstance(value, dict):
        raise MMTError(f"{file}: expected {name}, found no JSON object.")
    return value


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/")) or name == "README.md"
