"""A table -> a prepared dataset: formats, what spreadsheets write, bad input, splits by picture, downloads."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from data_prep import table
from data_prep.downloads import Limits, download
from data_prep.table import draw, parse_shares
from data_prep.table_rows import read_table
from mmt.data.dataset import read_info, read_split
from mmt.features.images import find_images

Run = Callable[..., tuple[int, str]]
LANGUAGES = ("--source-lang", "en", "--target-lang", "es")
HEADER = ["source", "target", "image", "split"]
ROWS = [
    ["A bat, flying.", "Un murciélago volando.", "a.png", "train"],
    ['The "best" dog.', 'El "mejor" perro.', "sub/b.png", "train"],
    ["A cat.", "Un gato.", "", "dev"],
]
CLEAN = [(source, target) for source, target, *_ in ROWS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures, in which tables are written."""
    (tmp_path / "shop" / "sub").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("sub/b.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / "shop" / name)
    return tmp_path / "shop"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            table.main([str(arguments[0]), str(tmp_path / "out"), *map(str, arguments[1:])], prog_name="table")
        return int(stop.value.code or 0), capsys.readouterr().err

    return run


def delimited(rows: list[list[str]], mark: str = "\t", quote: bool = False, end: str = "\n") -> str:
    def cell(text: str) -> str:
        special = quote and any(sign in text for sign in (mark, '"', "\n"))
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if special else text

    return "".join(mark.join(map(cell, row)) + end for row in rows)


def as_parquet() -> bytes:
    buffer = io.BytesIO()
    columns = {name: [row[number] for row in ROWS] for number, name in enumerate(HEADER)}
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


JSONL = "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS)
FILES: dict[str, bytes] = {
    "data.tsv": delimited([HEADER, *ROWS]).encode(),
    "data.csv": delimited([HEADER, *ROWS], ",", quote=True).encode(),
    "data.csv.gz": gzip.compress(delimited([HEADER, *ROWS], ",", quote=True).encode()),
    "data.jsonl": JSONL.encode(),
    "data.parquet": as_parquet(),
    "data.parquet.gz": gzip.compress(as_parquet()),
    # As Excel saves them: CSV UTF-8 with semicolons, its hint of the separator, Unicode text, blank rows.
    "excel.csv": b"\xef\xbb\xbf" + delimited([HEADER, *ROWS], ";", quote=True, end="\r\n").encode(),
    "hint.csv": ("sep=;\r\n" + delimited([HEADER, *ROWS], ";", quote=True, end="\r\n")).encode(),
    "unicode.txt": delimited([HEADER, *ROWS], end="\r\n").encode("utf-16"),
    "blank.csv": (delimited([[*HEADER, "", ""], *([*row, "", ""] for row in ROWS)], ";", quote=True) + ";;;;;\n\n")
    .encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_dataset(folder: Path, run: Run, name: str) -> None:
    (folder / name).write_bytes(FILES[name])
    status, said = run(folder / name, *LANGUAGES, "--name", "shop")
    assert status == 0, said
    info = read_info(folder.parent / "out")
    assert (info.name, info.source_lang, info.target_lang, info.images) == ("shop", "en", "es", str(folder))
    assert list(info.splits) == ["train", "val"]
    rows = [row for split in info.splits for row in read_split(folder.parent / "out", split)]
    assert [(row["source"], row["target"]) for row in rows] == CLEAN
    assert [row["id"] for row in rows] == ["train-00000", "train-00001", "val-00000"]
    assert [row["has_image"] for row in rows] == [True, True, False]
    assert list(find_images(folder.parent / "out")) == ["a.png", "sub/b.png"]


def test_columns_by_name_by_language_and_by_option(folder: Path, run: Run) -> None:
    rows = [["EN", "Bild", "es", "price"], ["A bat.", "a.png", "Un murciélago.", "3"]]
    (folder / "data.tsv").write_text(delimited(rows))
    all_train = ["--shares", "train=1"]
    status, said = run(folder / "data.tsv", *LANGUAGES, *all_train)
    assert status == 2
    assert "expected a column 'image' or" in said
    assert "its columns are 'EN', 'Bild', 'es', 'price'. Name it with --image." in said
    assert run(folder / "data.tsv", *LANGUAGES, *all_train, "--image", "Bilder")[1].endswith(
        "no column 'Bilder'; its columns are 'EN', 'Bild', 'es', 'price'. Did you mean 'Bild'?\n"
    )
    status, said = run(folder / "data.tsv", *LANGUAGES, *all_train, "--image", "bild")
    assert status == 0, said
    assert "columns: source is 'EN', target is 'es', image is 'Bild'; not read: 'price'" in said
    (row,) = read_split(folder.parent / "out", "train")
    assert (row["source"], row["target"], row["image"]) == ("A bat.", "Un murciélago.", "a.png")


def test_quotes_of_a_tsv_are_text_unless_told_otherwise(folder: Path, run: Run) -> None:
    rows = [["source", "target", "image"], ['say "hi"\nnow', '"sí"', "a.png"]]
    (folder / "data.tsv").write_text(delimited(rows, quote=True))
    status, said = run(folder / "data.tsv", *LANGUAGES, "--shares", "train=1")
    assert status == 2
    assert "line 2: expected 3 cells, as in the first line, found 1" in said
    assert "--quotes csv" in said
    assert run(folder / "data.tsv", *LANGUAGES, "--shares", "train=1", "--quotes", "csv")[0] == 0
    (row,) = read_split(folder.parent / "out", "train")
    assert (row["source"], row["target"]) == ('say "hi" now', '"sí"')


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no rows"),
        (b"source\ttarget\timage\n", "has no rows"),
        (b"source\ttarget\timage\nA\tB\n", "line 2: expected 3 cells, as in the first line, found 2"),
        (b"source\ttarget\timage\nA\tB\ta.png\nC\tD\ta.png\tE\n", "line 3: expected 3 cells"),
        (b"source\tsource\ttarget\timage\nA\tB\tC\ta.png\n", "2 columns are called 'source' (columns 1 and 2)"),
        (b"source\ttarget\timage\nA\tB\ta.png\n\tB\ta.png\nA\t \ta.png\n",
         "2 of 3 rows are incomplete: line 3 (no source), line 4 (no target)"),
        (b"source\ttarget\timage\nA\x00\tB\ta.png\n", "line 2: 'source': has a NUL character"),
        ("source\ttarget\timage\nA\tniño\ta.png\n".encode("cp1252"),
         "expected UTF-8 text, found 0xf1 (invalid continuation byte). Name its encoding, such as --encoding"),
        (b"source\ttarget\timage\nA\tB\t../a.png\n", "line 2: image id '../a.png'"),
        (b"source\ttarget\timage\nA\tB\t/etc/passwd\n", "line 2: image id '/etc/passwd'"),
        (b"source\ttarget\timage\nA\tB\tnone.png\n", "none of the 1 images is there: 'none.png'"),
        (b"source\ttarget\timage\tsplit\nA\tB\ta.png\t\n", "line 2: expected the name of a split"),
        (b"PK\x03\x04...", "is an Excel workbook or a zip file"),
    ],
)  # fmt: skip
def test_bad_input_is_named(folder: Path, run: Run, content: bytes, said: str) -> None:
    (folder / "data.tsv").write_bytes(content)
    status, complaint = run(folder / "data.tsv", *LANGUAGES, "--shares", "train=1")
    assert status == 2
    assert said in complaint
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", 'source,target,image\n"A,B,a.png\n', "not CSV"),
        ("a.csv", "source,target,image\nA, well,B,a.png\n", "Put a text with ',' into double quotes"),
        ("a.jsonl", '{"source": "A"\n', "line 1: not JSON"),
        ("a.jsonl", '["A"]\n', "line 1: expected an object such as"),
        ("a.jsonl", '{"source": 3, "target": "B", "image": null}\n', "'source': expected text, found int '3'"),
        ("a.jsonl", '{"source": "A", "target": ["B"], "image": null}\n', "mmt prepare jsonl reads several"),
        ("a.jsonl", '{"source": "A", "target": "B", "image": {"bytes": ""}}\n', "Save the pictures to files"),
        ("a.parquet", "PAR1", "not a Parquet file, or damaged"),
        ("a.xlsx", "", "found .xlsx. Save it as .csv"),
        ("missing.tsv", None, "no such file"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, run: Run, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (folder / name).write_text(content)
    status, complaint = run(folder / name, *LANGUAGES, "--shares", "train=1")
    assert status == 2
    assert said in complaint


def test_other_encodings_and_incomplete_rows(folder: Path, run: Run) -> None:
    rows = [["source", "target", "image"], ["A boy.", "Un niño.", "a.png"], ["A girl.", "", "a.png"]]
    (folder / "data.csv").write_bytes(delimited(rows, ";").encode("cp1252"))
    options = ["--encoding", "cp1252", "--incomplete", "skip", "--shares", "train=1"]
    status, said = run(folder / "data.csv", *LANGUAGES, *options)
    assert status == 0, said
    assert "left out, 1 incomplete row: line 3 (no target)" in said
    assert list(read_split(folder.parent / "out", "train")["target"]) == ["Un niño."]
    assert "no such encoding" in run(folder / "data.csv", *LANGUAGES, "--encoding", "cp9999")[1]
    assert (
        "expected utf-16, found something else" in run(folder / "data.csv", *LANGUAGES, "--encoding", "utf-16")[1]
    )


def test_a_table_without_translations(folder: Path, run: Run) -> None:
    (folder / "data.tsv").write_text(delimited([["caption", "image"], ["A bat.", "a.png"]]))
    shares = ["--shares", "test=1"]
    for languages, target in ((["--source-lang", "en"], ""), ([*LANGUAGES, "--no-target"], "es")):
        status, said = run(folder / "data.tsv", *languages, *shares)
        assert status == 0, said
        assert read_info(folder.parent / "out").target_lang == target
        assert list(read_split(folder.parent / "out", "test")["target"]) == [""]
    assert "expected a column 'target'" in run(folder / "data.tsv", *LANGUAGES, *shares)[1]
    (folder / "data.tsv").write_text(delimited([["caption", "target", "image"], ["A bat.", "B", "a.png"]]))
    status, said = run(folder / "data.tsv", "--source-lang", "en", *shares)
    assert status == 2
    assert "--target-lang: expected the language of the column 'target'" in said


def test_a_picture_is_in_one_split_whatever_it_is_called(folder: Path, run: Run) -> None:
    rows = [["source", "target", "image"]]
    for number in range(60):  # each picture twice under one name, and once under another
        picture = Image.new("RGB", (8, 8), (4 * number, 0, 0))
        for name in (f"{number}.png", f"sub/copy{number}.png"):
            picture.save(folder / name)
        names = [f"{number}.png", f"{number}.png", f"sub/copy{number}.png"]
        rows += [[f"Sentence {number} {line}.", "Frase.", name] for line, name in enumerate(names)]
    (folder / "data.tsv").write_text(delimited(rows))
    shares = ["--shares", "train=60,val=20,test=20"]
    status, said = run(folder / "data.tsv", *LANGUAGES, *shares)
    assert status == 0, said

    def place() -> dict[str, str]:
        out = folder.parent / "out"
        return {row["source"]: split for split in read_info(out).splits for row in read_split(out, split)}

    first = place()
    small = sum(split == "test" for split in first.values()) < 30
    assert ("'test' is small: mmt evidence compares systems on 30 sentences" in said) == small
    splits = [{first[f"Sentence {number} {line}."] for line in range(3)} for number in range(60)]
    assert all(len(split) == 1 for split in splits)
    counts = Counter(next(iter(split)) for split in splits)
    assert set(counts) == {"train", "val", "test"}
    assert counts["train"] > counts["val"]
    (folder / "data.tsv").write_text(delimited([rows[0], *rows[:30:-1], ["New.", "Nueva.", "a.png"]]))
    assert run(folder / "data.tsv", *LANGUAGES, *shares)[0] == 0
    assert all(first[source] == split for source, split in place().items() if source != "New.")


def test_shares_are_kept_and_empty_splits_are_refused(folder: Path, run: Run) -> None:
    shares = parse_shares("train=8,val=1.5,test=0.5")
    drawn = Counter(draw(f"picture {number}", shares) for number in range(4000))
    assert [drawn[split] / 4000 for split in shares] == pytest.approx([0.8, 0.15, 0.05], abs=0.02)
    (folder / "data.tsv").write_text(delimited([HEADER[:3], ROWS[0][:3]]))
    status, said = run(folder / "data.tsv", *LANGUAGES)
    assert status == 2
    assert "as there is only 1 picture. Raise its share with --shares" in said
    for bad in ("train", "train=0,test=1", "train=1,train=2", "train=-1", "a b=1"):
        assert "--shares" in run(folder / "data.tsv", *LANGUAGES, "--shares", bad)[1]


# --- downloads -------------------------------------------------------------------------------------------


class Pictures(ThreadingHTTPServer):
    """A server with pictures, and with everything else that an address can lead to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: Counter[str] = Counter()
        self.busy = 0
        self.ended = threading.Event()
        self.picture = io.BytesIO()
        Image.new("RGB", (64, 64), "green").save(self.picture, "PNG")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Answers(BaseHTTPRequestHandler):
    server: Pictures

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path
        self.server.asked[path] += 1
        picture = self.server.picture.getvalue()
        if path == "/missing.png":
            return self.answer(404, b"none", "text/plain")
        if path == "/page.png":
            return self.answer(200, b"<html>log in</html>", "text/html")
        if path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/good.png")
            self.end_headers()
            return None
        if path == "/busy.png" and self.server.busy > 0:
            self.server.busy -= 1
            return self.answer(503, b"", "text/plain")
        if path == "/large.png":
            return self.answer(200, picture + b"\0" * 100_000, "image/png")
        if path == "/slow.png":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client does not wait for the end, which never comes
                while not self.server.ended.wait(0.05):
                    self.wfile.write(b"\x89")
            return None
        if path == "/cut.png":  # less than announced
            self.send_response(200)
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture[:20])
            return None
        return self.answer(200, picture, "image/png")

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pictures]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Pictures() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


def test_addresses_are_downloaded_once(folder: Path, run: Run, server: Pictures) -> None:
    good, missing = server.url("/shop/good.png?size=1"), server.url("/missing.png")
    rows = [
        [f"Sentence {number}.", "Frase.", image] for number, image in enumerate([good, missing, "a.png", good])
    ]
    (folder / "data.tsv").write_text(delimited([HEADER[:3], *rows]))
    status, said = run(folder / "data.tsv", *LANGUAGES, "--shares", "train=1")
    assert status == 0, said
    assert f"not downloaded, 1 of 2 images: {missing} (404 Not Found)" in said
    out, downloads = folder.parent / "out", folder.parent / "out.images"
    found = list(read_split(out, "train"))
    assert [row["has_image"] for row in found] == [True, False, True, True]
    assert found[0]["image"] == found[3]["image"]
    assert found[0]["image"].startswith("good-")
    assert [path.name for path in downloads.iterdir()] == [found[0]["image"]]
    files = find_images(out)
    assert files[found[0]["image"]].read_bytes() == server.picture.getvalue()
    assert run(folder / "data.tsv", *LANGUAGES, "--shares", "train=1")[0] == 0
    assert server.asked == {"/shop/good.png?size=1": 1, "/missing.png": 2}


def test_what_cannot_be_downloaded_is_counted_with_its_reason(tmp_path: Path, server: Pictures) -> None:
    paths = ["/good.png", "/moved.png", "/missing.png", "/page.png", "/large.png", "/cut.png"]
    urls = [server.url(path) for path in paths] + ["http://127.0.0.1:1/x.png", "http://[bad/x.png"]
    limits = Limits(max_bytes=50_000, seconds=300, jobs=3, pause=0.01)
    names, failed = download(urls, tmp_path / "images", limits)
    assert list(names) == urls[:2]
    assert failed[urls[2]] == "404 Not Found"
    assert failed[urls[3]] == "not an image, but text/html"
    assert failed[urls[4]] == "over 0.05 MB"
    assert set(failed) == set(urls[2:])
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(names.values())
    assert (server.asked["/missing.png"], server.asked["/cut.png"]) == (1, 3)


def test_a_slow_server_is_given_up(tmp_path: Path, server: Pictures) -> None:
    url = server.url("/slow.png")
    names, failed = download([url], tmp_path / "images", Limits(seconds=0.5))
    assert names == {}
    assert failed[url].startswith(("not complete after 0.5 s", "no answer within 0.5"))


def test_a_busy_server_is_asked_again(tmp_path: Path, server: Pictures) -> None:
    server.busy = 2
    names, failed = download([server.url("/busy.png")], tmp_path, Limits(pause=0.01))
    assert (len(names), failed, server.asked["/busy.png"]) == (1, {}, 3)


def test_a_stop_waits_for_no_further_attempt(
    tmp_path: Path, server: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.busy = 3

    def interrupted(images: Iterable[object], *_: object, **__: object) -> Iterator[object]:
        while not {"/busy.png", "/slow.png"} <= set(server.asked):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.downloads.tqdm", interrupted)
    limits = Limits(pause=600.0, seconds=1200.0)  # else it would wait so long
    with pytest.raises(KeyboardInterrupt):
        download([server.url("/busy.png"), server.url("/slow.png")], tmp_path, limits)
    assert server.asked == {"/busy.png": 1, "/slow.png": 1}


def test_an_error_where_nothing_can_be_downloaded(folder: Path, run: Run, server: Pictures) -> None:
    (folder / "data.tsv").write_text(delimited([HEADER[:3], ["A", "B", server.url("/missing.png")]]))
    status, said = run(folder / "data.tsv", *LANGUAGES)
    assert status == 2
    assert "none of the 1 images could be downloaded" in said


def test_the_place_of_an_error_counts_lines_as_an_editor_does(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('sep=,\nsource,target\n"two\nlines",B\n\nC,D,E\n')
    with pytest.raises(Exception, match="line 6: expected 2 cells"):
        read_table(tmp_path / "a.csv")
