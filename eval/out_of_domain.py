"""Measures how many lines are called out of domain (``mmt.data.domain``): of a dataset's own splits, and of
others.

    python -m eval.out_of_domain data/multi30k_en_de
    python -m eval.out_of_domain data/pictures --vocab-size 1000 other.en

A tokenizer is trained on the split ``train`` as by ``mmt train``, and its pieces are counted; no model is needed.
The lines of this file are sentences of other kinds, written for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.data.dataset import read_info, read_split
from mmt.data.domain import TrainingPieces, is_out_of_domain
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.io.text_files import read_lines

ENGLISH = """
Stainless steel water bottle, 750 ml
USB-C charging cable, 2 m, braided nylon
Wireless noise-cancelling headphones with microphone
Men's waterproof hiking boots, size 43
Cotton bed sheet set, queen size, 400 thread count
Rechargeable LED headlamp, 1200 lumens, IPX6
Organic green tea, 100 bags
Replacement ink cartridge for HP OfficeJet Pro 8600
Non-stick frying pan 28 cm, induction compatible
Vitamin D3 2000 IU, 180 softgel capsules
Adjustable laptop stand, aluminium alloy
4K Ultra HD Smart TV 55 inch
Shares fell 3.2 % on Tuesday after the central bank raised interest rates.
The prime minister announced a new tax reform in parliament yesterday.
Scientists have discovered a protein that may slow the progress of Alzheimer's disease.
Negotiations between the unions and the government collapsed late on Thursday.
The earthquake, with a magnitude of 6.1, struck off the coast of Chile.
Inflation in the euro zone eased to 2.4 percent in November.
The court of appeal upheld the decision on Wednesday.
Officials warned that the epidemic could spread to neighbouring countries.
The company reported quarterly revenue of $4.3 billion, beating analysts' expectations.
Voters will elect a new president next month.
The tenant shall indemnify the landlord against all claims arising from the use of the premises.
This agreement shall be governed by and construed in accordance with the laws of Ireland.
The controller shall implement appropriate technical and organisational measures.
Article 6 shall not apply to processing carried out by public authorities.
Neither party shall be liable for any failure to perform its obligations due to force majeure.
The licensor grants the licensee a non-exclusive, non-transferable licence.
Payment is due within thirty days of receipt of the invoice.
Any dispute shall be settled by arbitration pursuant to the rules of the ICC.
The patient presented with acute abdominal pain and elevated liver enzymes.
Administer 5 mg intravenously every six hours.
Contraindicated in patients with severe renal impairment.
Click Settings, then choose Privacy and disable location services.
The function returns a pointer to the allocated memory block.
Segmentation fault (core dumped)
def main(): return 0
https://www.example.com/index.html?id=42
Error 404: page not found
git commit -m "Fix typo"
I would like to book a double room for two nights.
How much does a ticket to Berlin cost?
Thank you for your email; I will get back to you tomorrow.
Could you please send me the invoice again?
The meeting has been postponed until further notice.
Happy birthday! I hope you have a wonderful day.
Preheat the oven to 180 degrees and grease a baking tin.
Let P be a prime ideal of a commutative ring R.
To be, or not to be, that is the question.
It was the best of times, it was the worst of times, it was the age of wisdom.
""".strip().splitlines()
"""Products, news, law, medicine, software, letters, books."""

OTHERS = """
Dies ist ein ganz gewöhnlicher deutscher Satz über das Wetter.
Die Bundesregierung hat gestern ein neues Gesetz beschlossen.
Edelstahl-Trinkflasche, 750 ml
Le premier ministre a annoncé une nouvelle réforme.
Une bouteille d'eau en acier inoxydable.
Une vieille dame nourrit les pigeons sur la place.
Dva mladí muži běží přes zasněžené pole.
Dos perros corren por la nieve.
Due uomini suonano la chitarra in strada.
Два человека стоят на улице.
一个男人在骑自行车。
رجل يركب دراجة.
Köpek karda koşuyor.
Eine alte Dame füttert Tauben auf dem Marktplatz.
Zwei Hunde spielen im Schnee.
""".strip().splitlines()
"""Sentences in other languages than English."""


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", type=PATH)
@click.argument("files", nargs=-1, type=PATH)
@click.option("--vocab-size", type=click.IntRange(min=261), default=10_000, help="Pieces of the tokenizer.")
def main(data: Path, files: tuple[Path, ...], vocab_size: int) -> None:
    """Says how many lines of each split of the prepared dataset DATA, and of FILES, are out of domain."""
    groups = {split: list(read_split(data, split)["source"]) for split in read_info(data).splits}
    groups |= {
        "other English": ENGLISH,
        "other languages": OTHERS,
        **{str(path): read_lines(path) for path in files},
    }
    train = read_split(data, "train")
    for name, (count, lines) in measure(list(train["source"]), list(train["target"]), groups, vocab_size).items():
        click.echo(f"{name}: {count:,} of {lines:,} out of domain ({100 * count / lines:.1f} %)")


def measure(
    sources: Sequence[str], targets: Sequence[str], groups: dict[str, list[str]], vocab_size: int
) -> dict[str, tuple[int, int]]:
    """Of each group of lines, how many are out of domain for a training text, and how many there are.

    Raises:
        MMTError: the text is too small for ``vocab_size`` pieces.
    """
    with TemporaryDirectory(prefix="mmt-") as folder:
        train_tokenizer([*sources, *targets], vocab_size, Path(folder) / "tokenizer.model")
        tokenizer = Tokenizer(Path(folder) / "tokenizer.model")
    tokenizer.training = TrainingPieces.of(map(tokenizer.encode, sources), tokenizer)
    return {
        name: (sum(is_out_of_domain(tokenizer, tokenizer.encode(line)) for line in lines), len(lines))
        for name, lines in groups.items()
    }


if __name__ == "__main__":
    main(prog_name="python -m eval.out_of_domain")
