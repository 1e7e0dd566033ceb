"""Files are read as what they are, and written as what their name says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.inputs import Images, Line, read_input, read_texts
from mmt.errors import MMTError
from mmt.io.formats import TRANSLATIONS, kind_of, writes_json
from mmt.metrics.files import score_files
from tests.worlds import tiny_folder

TABLES = {
    "csv": 'source,image\n"A dog, red.",a.jpg\nnull,\n"A ""cat""\nruns.",0007\n',
    "semicolons": 'sentence;image\n"A dog, red.";a.jpg\nnull;\n"A ""cat""\nruns.";0007\n',
    "other columns": 'id,Image,TEXT\n1,a.jpg,"A dog, red."\n2,,null\n3,0007,"A ""cat""\nruns."\n',
    "bars": 'source|image\n"A dog, red."|a.jpg\nnull|\n"A ""cat""\nruns."|0007\n',
    "quoted names": '\ufeff"Source", "Image"\n"A dog, red.",a.jpg\nnull,\n"A ""cat""\nruns.",0007\n',
    "mark, windows": '\ufeffsource,image\r\n"A dog, red.",a.jpg\r\nnull,\r\n\r\n"A ""cat""\nruns.",0007\r\n',
}
ROWS = [("A dog, red.", "a.jpg"), ("null", None), ('A "cat"\nruns.', "0007")]


def lines_of(path: Path, images: Images = Images()) -> list[Line]:  # noqa: B008
    return list(read_input(path, None, images))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", TABLES)
def test_a_csv_gives_the_columns_by_their_names(tmp_path: Path, kind: str, packed: bool) -> None:
    path = tmp_path / ("in.csv.gz" if packed else "in.csv")
    content = TABLES[kind].encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [(line.source, line.image) for line in lines_of(path)] == ROWS
    assert [line.number for line in lines_of(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "header", ["source\timage", "Sentence\tImage", "image\tsource", "id\tsource\timage\tsplit"]
)
def test_a_tsv_may_have_a_header(tmp_path: Path, header: str) -> None:
    cells = {"source": "A dog.", "sentence": "A dog.", "image": "a.jpg", "id": "1", "split": "train"}
    row = "\t".join(cells[name.lower()] for name in header.split("\t"))
    (tmp_path / "in.tsv").write_text(f"{header}\n{row}\n")
    assert lines_of(tmp_path / "in.tsv") == [Line(1, "A dog.", "a.jpg")]


def test_quotes_in_a_tsv_are_text_unless_its_header_has_them(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text('source\timage\nThe 5" pipe\t"a".jpg\n')
    assert lines_of(tmp_path / "in.tsv") == [Line(1, 'The 5" pipe', '"a".jpg')]
    (tmp_path / "in.tsv").write_text('"source"\t"image"\n"The 5"" pipe"\t"a.jpg"\n')
    assert lines_of(tmp_path / "in.tsv") == [Line(1, 'The 5" pipe', "a.jpg")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A dog.\rA cat.\r", "its lines end in CR alone"),
        (b"source,image\rA dog.,a.jpg", "its lines end in CR alone"),
        ("A dog.\nA cat.\n".encode("utf-16-le"), "found UTF-16"),
        ("A dog.\nA cat.\n".encode("utf-16-be"), "found UTF-16"),
        ("A dog.\n".encode("utf-16"), "byte 1: expected UTF-8 text, found 0x"),
        ("A dög.\n".encode("latin-1"), "line 1, byte 4: expected UTF-8 text, found 0xf6"),
    ],
)
@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.tsv", "in.jsonl", "in.gz"])
def test_what_is_not_lines_of_utf_8_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for read in (lines_of, lambda path: read_texts(path, TRANSLATIONS)):
        with pytest.raises(MMTError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize("content", [b"A dog.\rA cat.\r\nA bird.\n", b"A\x00dog.\r", b"\x00\x00\x00\x00\n"])
def test_stray_control_characters_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    assert len(lines_of(tmp_path / "in.txt")) == content.count(b"\n") or 1


@pytest.mark.parametrize("first", ["Text", "A dog.\ta.jpg", "Image\tText", "A source\tof light"])
def test_a_sentence_is_not_taken_for_a_header(tmp_path: Path, first: str) -> None:
    (tmp_path / "in.tsv").write_text(f"{first}\nA cat.\n")
    number = 1 if first in ("Text", "Image\tText") else 2  # one word, or two names of columns: a header
    assert len(lines_of(tmp_path / "in.tsv")) == number
    (tmp_path / "in.txt").write_text("Text\nA cat, a dog.\n{A cat.}\n")  # as a sentence is written
    assert len(lines_of(tmp_path / "in.txt")) == 3


@pytest.mark.parametrize("kind", ["text", "tsv", "jsonl"])
def test_packed_input_is_unpacked_whatever_its_name(tmp_path: Path, kind: str) -> None:
    content = {"text": "A dog.\n", "tsv": "A dog.\ta.jpg\n", "jsonl": '{"source": "A dog.", "image": "a.jpg"}\n'}[
        kind
    ]
    ending = "" if kind == "text" else f".{kind}"
    image = None if kind == "text" else "a.jpg"
    for name in (f"in{ending}.gz", f"IN{ending}.GZ", f"in{ending}"):
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
        assert lines_of(tmp_path / name) == [Line(1, "A dog.", image)]
    (tmp_path / f"plain{ending}.gz").write_text(content)
    with pytest.raises(MMTError, match="not a complete gzip file"):
        lines_of(tmp_path / f"plain{ending}.gz")


@pytest.mark.parametrize("mtime", [0, 0x0D0D0D0D, 0x0A0A0A0A])  # the header has the time: no byte, CR or LF
def test_packed_standard_input_is_refused_with_the_remedy(tmp_path: Path, world: Path, mtime: int) -> None:
    command = ["translate", "--model", str(tiny_folder(tmp_path / "model", world))]
    result = CliRunner().invoke(main, command, input=gzip.compress(b"A dog.\n", mtime=mtime))
    assert (result.exit_code, "compressed with gzip. Unpack it first, for example with zcat" in result.stderr) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.csv", "A dog.,a.jpg\nA cat.,b.jpg\n", "line 1: expected the names of the columns"),
        ("in.csv", "", "line 1: expected the names of the columns"),
        ("in.csv", "x" * 200_000, "line 1: expected the names of the columns"),
        ("in.csv", "source,image\nA dog, red.,a.jpg\n", "line 2: expected 2 cells, as in line 1, found 3"),
        ("in.csv", "source,image\nA dog.\n", "line 2: expected 2 cells, as in line 1, found 1"),
        ("in.csv", 'source,image\n"A dog.,a.jpg\nA cat.,b.jpg\n', "not CSV"),
        ("in.csv", "target,image\nEin Hund.,a.jpg\n", "expected a column named source or src or sentence or text"),
        ("in.tsv", "source\timage\nA dog.\ta.jpg\tx\n", "line 2: expected 2 columns, as in line 1, found 3"),
        ("in.txt", "source,image\nA dog.,a.jpg\n", "its first line is that of a table"),
        ("in.txt", "source\nA dog.\n", "its first line is that of a table of one column"),
        ("in.txt", '"source","image"\nA dog.,a.jpg\n', "its first line is that of a table"),
        ("in.txt", '"Source"\t"Image"\nA dog.\ta.jpg\n', "its first line is that of a table"),
        ("in.txt", "source|image\nA dog.|a.jpg\n", "its first line is that of a table"),
        ("in.txt", '"source"\n"A dog."\n', "its first line is that of a table of one column"),
        ("in.txt", '[{"source": "A dog."}]\n', "its first line is that of JSON"),
        ("in.txt", '{\n  "source": ["A dog."]\n}\n', "its first line is that of JSON"),
        ("in.en", "source\timage\nA dog.\ta.jpg\n", "its first line is that of a table"),
        ("in.txt", '{"source": "A dog."}\n', "its first line is that of JSON lines"),
        *(
            (f"in{ending}", "x", f"found {ending}")
            for ending in (".json", ".xlsx", ".pdf", ".zip", ".xz", ".parquet")
        ),
        ("in.json.gz", "x", "found .json"),
    ],
)
def test_what_is_of_another_kind_is_refused_with_the_remedy(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    with pytest.raises(MMTError, match=said):
        lines_of(path)
    if name in ("in.txt", "in.json"):  # who says that it is text, is believed
        assert list(read_input(path, "text", Images()))


def test_images_need_a_column_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("source,photograph\nA dog.,a.jpg\n")
    with pytest.raises(
        MMTError, match="--images needs a column named image or image_id, found source, photograph"
    ):
        lines_of(tmp_path / "in.csv", Images(folder=tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.de", "Ein Hund.\n\nnull\n"),
        ("a.de.gz", "Ein Hund.\n\nnull\n"),
        ("a.csv", "id,translation\n1,Ein Hund.\n2,\n3,null\n"),
        ("a.tsv", "source\ttarget\nA dog.\tEin Hund.\n\t\nnull\tnull\n"),
        ("a.tsv", "Ein Hund.\n\nnull\n"),
        ("a.jsonl", '{"target": "Ein Hund."}\n{"target": ""}\n{"target": "null"}\n'),
        (
            "a.jsonl.gz",
            "".join(json.dumps({"translations": [{"text": t}]}) + "\n" for t in ("Ein Hund.", "", "null")),
        ),
    ],
)
def test_translations_are_read_out_of_every_kind(tmp_path: Path, name: str, content: str) -> None:
    raw = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert read_texts(tmp_path / name, TRANSLATIONS) == ["Ein Hund.", "", "null"]


def test_translations_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, content, said in (
        ("a.txt", "source\ttarget\nA dog.\tEin Hund.\n", "its first line is that of a table"),
        ("a.tsv", "A dog.\tEin Hund.\n", "line 1: expected one column, found 2"),
        ("a.jsonl", '{"x": 1}\n', "line 1: expected an object with a text"),
        ("a.csv", "source,target\n,\n", "all of its 1 lines are blank"),
        ("a.json", "[]", "found .json"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(MMTError, match=said):
            read_texts(tmp_path / name, TRANSLATIONS)


def test_what_translate_writes_is_scored_whatever_its_kind(tmp_path: Path, world: Path) -> None:
    model = tiny_folder(tmp_path / "model", world)
    (tmp_path / "in.en.gz").write_bytes(gzip.compress(b"A dog sees the cat.\nA boat.\n"))
    written = {}
    for name in ("a.de", "a.de.gz", "a.jsonl", "a.jsonl.gz", "a.tsv"):
        command = ["translate", "--model", model, "--input", tmp_path / "in.en.gz", "--output", tmp_path / name]
        result = CliRunner().invoke(main, [str(part) for part in command])
        assert result.exit_code == 0, result.stderr
        raw = (tmp_path / name).read_bytes()
        assert (raw[:2] == b"\x1f\x8b") == name.endswith(".gz")
        written[name] = gzip.decompress(raw) if name.endswith(".gz") else raw
        assert score_files([tmp_path / name], tmp_path / "a.de", lang=None)[0].scores["chrf"].value == 100
    assert written["a.de"] == written["a.de.gz"] == written["a.tsv"]
    assert written["a.jsonl"] == written["a.jsonl.gz"]
    assert len(written["a.jsonl"].splitlines()) == 2


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.xlsx", "out.zip", "out.json.gz", "out.de.bz2"])
@pytest.mark.parametrize(
    "command",
    [
        lambda model, out: ["translate", "--model", model, "--input", __file__, "--output", out],
        lambda model, out: ["predict", "--model", model, "--input", __file__, "--output", out],
        lambda model, out: ["score-pairs", "--model", model, "--source", "a", "--target", "b", "--output", out],
        lambda model, out: ["retrieve", "--model", model, "--index", model, "--output", out, "a dog"],
    ],
    ids=["translate", "predict", "score-pairs", "retrieve"],
)  # fmt: skip
def test_a_name_that_promises_another_kind_is_refused_before_the_work(
    tmp_path: Path, world: Path, name: str, command: Callable[[Path, Path], list[object]]
) -> None:
    model = tiny_folder(tmp_path / "model", world)
    result = CliRunner().invoke(main, [str(part) for part in command(model, tmp_path / name)])
    assert result.exit_code == 2
    assert f"{name}: " in result.stderr
    assert "is not written. Name a .txt or a .jsonl file" in result.stderr
    assert not (tmp_path / name).exists()


def test_unknown_endings_are_text() -> None:
    for name in ("a", "a.en", "train.lc.tok.bpe", "a.en.gz", "b.txt"):
        assert kind_of(Path(name)) == "text"
        assert not writes_json(Path(name))
    assert writes_json(Path("a.jsonl.gz"))
    assert not writes_json(None)
