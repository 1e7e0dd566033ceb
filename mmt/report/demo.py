"""Pictures that change translations, with the model that comes with mmt, in a terminal."""

from __future__ import annotations

from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from mmt.inference.named import EXAMPLES, examples
from mmt.inference.open import Translator
from mmt.io.terminal import console

MODEL = "pictures-en-de"

NEXT = f"""\
The English leaves open what the picture shows. From a file, and in Python:

  mmt translate --model {MODEL} --input {{examples}}
  mmt.Translator.from_pretrained("{MODEL}").translate(sentences, images)

This model knows only what mmt draws in its own pictures. To train another on
your text and photos, begin with mmt prepare --help, after

  pip install 'mmt-toolkit[train]'
"""


def print_demo() -> None:
    """Translates the examples that come with mmt, with and without their pictures, and prints both."""
    rows = examples()
    translator = Translator.from_pretrained(MODEL)
    sources = [row["source"] for row in rows]
    shown = translator.translate(sources, [EXAMPLES.parent / row["image"] for row in rows])
    alone = dict(zip(sources, translator.translate(sources), strict=True))

    table = Table("picture", "English to German", box=box.HEAVY_HEAD)
    for source, pairs in groupby(zip(rows, shown, strict=True), lambda pair: pair[0]["source"]):
        table.add_row("", Text(source, style="italic"))
        usual = set(alone[source].split())
        for row, translation in pairs:
            words = [Text(word, style="" if word in usual else "bold green") for word in translation.split()]
            table.add_row(row["shows"], Text(" ").join(words))
        table.add_row("none", alone[source], end_section=True)
    out = console()
    out.print(table)
    out.print(NEXT.format(examples=EXAMPLES), soft_wrap=True, end="")
