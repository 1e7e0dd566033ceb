"""``mmt export``: exports a model to ONNX, or to Marian's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import (
    PATH,
    import_option,
    quiet_option,
    source_lang_option,
    target_lang_option,
    text_model_option,
    vocabulary_option,
)
from mmt.errors import MMTError

if TYPE_CHECKING:
    from mmt.features.onnx_export import BackbonePrecision
    from mmt.inference.onnx_runtime import ExportPrecision


@click.command("export", cls=Command)
@text_model_option
@source_lang_option
@target_lang_option
@click.option(
    "--out",
    type=PATH,
    help="Output folder of the exported model.  [default: into the model folder, which then translates with it]",
)
@click.option("--to", type=click.Choice(["onnx"]), default="onnx", help="Export format.")
@click.option(
    "--layout",
    type=click.Choice(["marian"]),
    help="Layout of a pretrained family, for transformers, to write instead of ONNX; for text-only models.",
)
@click.option("--precision", "precisions", type=click.Choice(["float32", "int8"]), multiple=True,
              default=("float32", "int8"), help="Precision of the weights; repeatable.")  # fmt: skip
@click.option(
    "--no-backbone",
    is_flag=True,
    help="Leave out the image backbone: the exported model then reads feature stores, and no image files.",
)
@click.option(
    "--backbone-precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    help="Precision of the backbone's weights; float16 and int8 are smaller and less exact.",
)
@vocabulary_option
@quiet_option
@import_option
def export_command(
    model: Path,
    source_lang: str | None,
    target_lang: str | None,
    out: Path | None,
    to: str,
    layout: str | None,
    precisions: tuple[ExportPrecision, ...],
    no_backbone: bool,
    backbone_precision: BackbonePrecision,
    vocabulary: Path | None,
    quiet: bool,
) -> None:
    """Export a model to ONNX, for translating without torch: same output, faster."""
    if out is None:
        if no_backbone or backbone_precision != "float32":
            raise MMTError(
                "--no-backbone and --backbone-precision: the graphs in a model folder have no backbone. Name the "
                "folder of an exported model: --out OUT."
            )
        _export_into(model, precisions, source_lang, target_lang, layout, vocabulary, quiet=quiet)
        return
    write_alone(out)
    if layout is not None:
        from mmt.inference.marian_export import write_marian

        write_marian(model, out)
        done = f"{out}: Marian's layout. Translate with it: mmt translate --model marian:{out}"
    else:
        from mmt.inference.onnx_export import export_model

        backbone = None if no_backbone else backbone_precision
        languages = {"source_lang": source_lang, "target_lang": target_lang}
        export_model(
            model, out, precisions, **languages, text=vocabulary, backbone=backbone, show_progress=not quiet
        )
        done = f"{out}: {' and '.join(precisions)}. Translate with it: mmt translate --model {out}"
    if not quiet:
        click.echo(done, err=True)


def _export_into(
    model: Path,
    precisions: tuple[ExportPrecision, ...],
    source_lang: str | None,
    target_lang: str | None,
    layout: str | None,
    vocabulary: Path | None,
    *,
    quiet: bool,
) -> None:
    from mmt.model.config import is_base

    if is_base(model) or layout or vocabulary or source_lang or target_lang:
        raise MMTError(
            "--out is missing: name the folder of the exported model. Only a model folder of mmt train can be "
            "exported into itself, as it is."
        )
    if "float32" not in precisions:
        raise MMTError(
            f"--precision {' and '.join(precisions)}: expected float32, too, which {model} translates with unless "
            "told otherwise. Leave --precision out, or name the folder of an exported model: --out OUT."
        )
    from mmt.inference.onnx_export import export_into

    export_into(model, precisions, show_progress=not quiet)
    if not quiet:
        click.echo(f"{model}: {' and '.join(precisions)}. mmt translate --model {model} uses them.", err=True)
