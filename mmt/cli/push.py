"""``mmt push``: publishes a model on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import MODEL, PATH
from mmt.io.hub import upload


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
    from mmt.report.push import make_publication

    publication = make_publication(model, repo, licence=licence, result=result, evidence=evidence)
    if publication.others:
        click.echo(f"not uploaded: {', '.join(publication.others)}", err=True)
    if dry_run:
        click.echo(publication.page)
        click.echo(f"files: {', '.join(sorted(publication.files))}", err=True)
        return
    message = f"Upload {model.resolve().name} with mmt"
    click.echo(upload(repo, publication.files, message=message, private=private, revision=revision))
