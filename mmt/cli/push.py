"""``mmt push``: publishes a model on the Hugging Face hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmt.cli.command import Command
from mmt.cli.options import MODEL, PATH
from mmt.errors import MMTError
from mmt.io.hub import HubModel, is_hub_name, upload
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from mmt.model.card import ModelCard


@click.command("push", cls=Command)
@click.argument("model", type=MODEL)
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--licence", "--license", required=True, metavar="ID", help="The model's licence, such as mit or cc-by-4.0."
)
@click.option(
    "--result", type=PATH, help="result.json of mmt evaluate result with MODEL, or its folder: scores of the card."
)
@click.option(
    "--evidence",
    type=PATH,
    help="evidence.json of mmt evidence with MODEL, or its folder: how image use was shown.",
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

    MODEL is a model folder or an exported model. Uploaded are the files that mmt.json names, and mmt.json with the
    last part of each local path. Log in before, with hf auth login.
    """
    # Imported here: the help needs none of it.
    from mmt.data.feature_store import signature_from
    from mmt.inference.onnx_runtime import is_exported
    from mmt.model.card import CARD, check_files, published, read_card
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
    if not card.sha256:
        raise MMTError(f"{model}: its {CARD} names no files, as an early version of mmt wrote it. Train it again.")
    if missing := [name for name in card.sha256 if not (model / name).is_file()]:
        raise MMTError(f"{model}: {missing[0]} is missing, which {CARD} names. Copy the model folder again.")
    raw = published(parse_json((model / CARD).read_bytes()))
    files: dict[str, Path | bytes] = {name: model / name for name in card.sha256}
    files[CARD] = (json.dumps(raw, indent=2, ensure_ascii=False) + "\n").encode()
    others = sorted(path.name for path in model.iterdir() if path.name not in files)
    card = replace(
        card,
        training=published(card.training),
        text=published(card.text),
        features=card.features and signature_from(published(card.features.to_dict())),
    )
    about, shown = _read(result, "result.json"), _read(evidence, "evidence.json")
    text = hub_card(
        repo,
        card,
        licence=licence,
        exported=is_exported(model),
        result=about,
        evidence=shown,
    )
    _check_training(card, "--result", result, about)
    _check_training(card, "--evidence", evidence, None if shown is None else shown.get("model"))
    if others:
        click.echo(f"not uploaded: {', '.join(others)}", err=True)
    if dry_run:
        click.echo(text)
        click.echo(f"files: {', '.join(sorted([*files, 'README.md']))}", err=True)
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


def _check_training(card: ModelCard, option: str, path: Path | None, about: Any) -> None:
    """Raises MMTError if what was measured is another model than that of ``card``: another training made it.

    Args:
        about: what the file says of the model that was measured.
    """
    if path is None:
        return
    from mmt.model.card import published  # as above

    training = about.get("training") if isinstance(about, dict) else None
    if published(training) != card.training:
        raise MMTError(
            f"{option} {path}: expected what was measured with MODEL, found another model's: it was trained "
            "otherwise. Measure MODEL, or leave it out."
        )
