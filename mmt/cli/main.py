"""The ``mmt`` command. A command's module is loaded when it is called, so that ``mmt --help`` is quick."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import CompletionItem

from mmt import __version__
from mmt.cli.command import Group, complete

COMMANDS = {
    "compare": "Train and compare fusions, features and seeds; search settings; or compare systems on datasets.",
    "demo": "Show a picture change a translation, with the model that comes with mmt: no download, no training.",
    "evaluate": "Evaluate trained models on a task: retrieval, questions, labels, probes, CoMMuTE.",
    "evidence": "Do systems use the image, and are they better than text-only?",
    "export": "Export a model to ONNX, for translating without torch: same output, faster.",
    "features": "Extract features from images or recordings, for training and translating.",
    "info": "Describe PATH: a model, an exported model, a run, a dataset, a feature store or an index.",
    "predict": "Predict labels and scores of sentences.",
    "prepare": "Prepare a dataset: your own or a published one.",
    "push": "Publish MODEL on the Hugging Face hub, with a generated model card.",
    "recipe": "List, show and copy training configurations that come with mmt.",
    "reproduce": (
        "Retrain and rescore the experiment described in RESULT (result.json), and check that the scores match."
    ),
    "retrieve": "Index images or sentences, and search them by TEXT or image.",
    "score": "Score translations: BLEU, chrF2, TER, the BLEU of the papers, and COMET.",
    "score-pairs": (
        "Score given translations: the model's log-probability and perplexity of each, with its image or without."
    ),
    "serve": "Serve models on a web page and in an HTTP API, until Ctrl+C.",
    "train": "Train a model into OUTPUT/model, or resume an interrupted run.",
    "translate": "Translate sentences, with their images or without.",
}
"""Each command's name and the first sentence of its help, for the list of commands."""


class LazyGroup(Group):
    """Loads a command, ``NAME_command`` of the module ``mmt.cli.NAME``, when it is called.

    After https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"mmt.cli.{name}"), f"{name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return complete(self, ctx, incomplete, COMMANDS)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    verbose = ctx.params.pop("verbose")
    if ctx.resilient_parsing:  # completes a command
        return
    if wanted:
        from mmt.cli.version import report

        click.echo(report(__version__) if verbose else f"mmt, version {__version__}")
        ctx.exit()
    if verbose:
        ctx.fail("-v belongs to --version: mmt --version -v")


@click.group(
    cls=LazyGroup,
    epilog="Exit codes: 0 success; 1 finished with failures, or a bug in mmt (traceback); 2 a mistake "
    "in the command or its files, or a full disk; 128 + N stopped by signal N (130: Ctrl+C, 143: SIGTERM); 141 "
    "the reader of the output has closed it.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    help="With --version: also list dependency versions and the CPU.",
)
@click.option("--version", is_flag=True, expose_value=False, callback=_print_version, help="Show the version.")
def main() -> None:
    """Multimodal machine translation: translate text with the help of images, and know whether they helped."""


if __name__ == "__main__":
    main()
