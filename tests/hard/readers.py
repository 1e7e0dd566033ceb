"""The readers under test: each makes one case of a numbered generator, reads it, and knows what is right.

A reader's ``make`` writes what a user might hand in and returns the truth about it; ``read`` reads it as the
toolkit does and raises ``Wrong`` where what comes back is not the truth, or where an accident that can be seen was
not. An ``MMTError`` is a refusal, which is always allowed unless the truth says that nothing was wrong.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError
from tests.hard.damage import Rng, damaged, damaged_json, one, text
from tests.worlds import make_dataset, sentences, tiny_folder, tiny_model

KEY = re.compile(r"#([0-9a-f]{8})#")
DIM = 6


class Wrong(Exception):  # noqa: N818 (an outcome)
    """What came back is not what was written, and nobody was told."""


@dataclass
class Truth:
    """``whole``: nothing was damaged, a refusal is wrong; ``seen``: it must be refused; ``kind``: for reports."""

    kind: str
    whole: bool = False
    seen: bool = False
    more: Any = None
    whole_lines: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    """Of text: what a line that was not hit must give, by its bytes."""


class Reader:
    """``base``: a folder that only this reader's ``prepare`` writes to, once."""

    name = ""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.prepare()

    def prepare(self) -> None:
        """Makes what all cases begin from."""

    def make(self, rng: Rng, folder: Path) -> Truth:
        raise NotImplementedError

    def read(self, folder: Path, truth: Truth) -> None:
        raise NotImplementedError

    def check(self, rng: Rng, folder: Path) -> tuple[str, str]:
        """Makes a case and reads it.

        Returns:
            ``accepted`` or ``refused``, and the refusal.
        Raises:
            Wrong: see there.
        """
        truth = self.make(rng, folder)
        try:
            self.read(folder, truth)
        except MMTError as error:
            said = str(error)
            if truth.whole:
                raise Wrong(f"{truth.kind}: nothing is wrong, but it was refused: {said[:500]}") from error
            if not said.strip() or len(said) > 5000:
                raise Wrong(f"{truth.kind}: the refusal has {len(said):,} characters: {said[:200]!r}") from error
            names = {folder.name, *(path.name for path in folder.rglob("*"))}
            if not any(name in said for name in (*names, *self.also_names(truth))):
                raise Wrong(f"{truth.kind}: the refusal names nothing: {said[:500]!r}") from error
            return "refused", f"{truth.kind}: {said}"
        if truth.seen:
            raise Wrong(f"{truth.kind}: was accepted")
        return "accepted", truth.kind

    def also_names(self, truth: Truth) -> Iterable[str]:
        """What else a refusal may name."""
        return ()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def keyed(rng: Rng, num: int, **options: Any) -> list[tuple[str, str]]:
    """Sentences that carry a key, and their keys; of two that belong together both have the same one."""
    found = []
    for number in range(num):
        key = f"{zlib.crc32(bytes([number])) ^ int(rng.integers(1 << 32)):08x}"
        found.append((f"{text(rng, **options)}#{key}#{text(rng, **options)}", key))
    return found


def same_key(keys: set[str], *parts: str) -> None:
    """Raises Wrong where the parts of one row bear keys of different rows."""
    found = {key for part in parts for key in KEY.findall(part) if key in keys}
    if len(found) > 1:
        raise Wrong(f"put together from different rows: {[part[:60] for part in parts]}")


# --- sentences for a translation --------------------------------------------------------------------------


class Text(Reader):
    """Text with an image list, TSV, JSON lines and .gz, as ``mmt translate`` and ``mmt score`` read them."""

    name = "text"

    def prepare(self) -> None:
        from mmt.data.tokenizer import Tokenizer, train_tokenizer

        lines = [side for pair in sentences(60, 0) for side in pair]
        train_tokenizer(lines, 330, self.base / "tokenizer.model")
        self.tokenizer = Tokenizer(self.base / "tokenizer.model")

    def make(self, rng: Rng, folder: Path) -> Truth:
        kind = one(rng, ("list", "tsv", "jsonl", "gz"))
        rows = [
            (sentence, f"{key}.png", key)
            for sentence, key in keyed(rng, int(rng.integers(1, 12)), tabs=kind not in ("tsv",))
        ]
        end = one(rng, ("\n", "\n", "\r\n"))
        mark = one(rng, ("", "", "\ufeff"))
        sources, images = [row[0] for row in rows], [f"#{key}#{image}" for _, image, key in rows]
        truth = Truth(kind, whole=True, more=(rows, kind))
        pairs = [(source, image) for source, image in zip(sources, images, strict=True)]

        def lines(values: list[str]) -> bytes:
            whole = end.join(values) + one(rng, ("", end))
            return (mark + whole).encode()

        if kind == "list":
            files = {"in.txt": lines(sources), "in.images": lines(images)}
        elif kind == "tsv":
            files = {"in.tsv": lines([f"{s}\t{i}" for s, i in zip(sources, images, strict=True)])}
        elif kind == "jsonl":
            ascii_only = bool(rng.random() < 0.5)
            objects = [
                json.dumps({"source": s, "image": i}, ensure_ascii=ascii_only)
                for s, i in zip(sources, images, strict=True)
            ]
            files = {"in.jsonl": lines(objects)}
        else:
            files = {"in.txt.gz": gzip.compress(lines(sources), 1)}
        if kind in ("tsv", "jsonl"):
            truth.whole_lines = dict(zip(next(iter(files.values())).split(b"\n"), pairs, strict=False))
        accident = one(rng, ("none", "bytes", "bytes", "shape", "encoding", "shape"))
        name = one(rng, list(files))
        raw = files[name]
        if accident == "bytes":
            raw, truth.whole = damaged(rng, raw), False
        elif accident == "encoding":
            bad = one(rng, (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80"))
            at = raw.index(b"#") if b"#" in raw else len(raw)
            raw = raw[:at] + bad + raw[at:] if kind != "gz" else gzip.compress(bad + gzip.decompress(raw), 1)
            truth.whole, truth.seen = False, True
        elif accident == "shape" and kind == "list":
            broken = raw.split(b"\n")
            at = int(rng.integers(len(broken)))
            if rng.random() < 0.5:
                broken.insert(at, b"one more")
            else:
                del broken[at]
            raw = b"\n".join(broken)
            truth.whole = False
        elif accident == "shape" and kind == "tsv":
            raw = raw.replace(b"\t", b"\tone more\t", 1)
            truth.whole, truth.seen = False, True
        elif accident == "shape" and kind == "jsonl":
            whole = raw.split(b"\n")
            at = int(rng.integers(len(whole)))
            try:
                whole[at] = damaged_json(rng, whole[at])
            except ValueError:
                whole[at] = b"{"
            raw = b"\n".join(whole)
            truth.whole = False
        files[name] = raw
        if kind == "list":
            counts = [len(f.split(b"\n")) - f.endswith(b"\n") for f in files.values()]
            truth.seen |= counts[0] != counts[1] and accident in ("shape", "bytes")
            if accident == "bytes" and counts[0] == counts[1]:
                truth.more = ([], kind)  # nothing in two such files says which line belongs to which
        truth.kind = f"{kind}, {accident}"
        write(folder, files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.data.inputs import Images, open_file
        from mmt.io.text_files import read_lines

        rows, kind = truth.more
        keys = {key for *_, key in rows}
        if kind == "gz":
            found = [(line, None) for line in read_lines(folder / "in.txt.gz")]
        else:
            path = folder / {"list": "in.txt", "tsv": "in.tsv", "jsonl": "in.jsonl"}[kind]
            images = Images(list_file=folder / "in.images" if kind == "list" else None)
            found = [(line.source, line.image) for line in open_file(path, None, images).lines]
        if "bytes" in truth.kind:  # text has no checksum: of a line that was hit, nothing can be known
            for raw, pair in zip(path.read_bytes().split(b"\n") if kind != "gz" else (), found, strict=False):
                right = truth.whole_lines.get(raw, pair)  # the first may have a byte order mark before it
                if (right[0].strip("\ufeff"), right[1]) != (pair[0].strip("\ufeff"), pair[1]):
                    raise Wrong(f"a whole line gave {pair!r:.200}")
        else:
            for source, image in found:
                same_key(keys, source, image or "")
        if truth.whole:
            same = [KEY.findall(source) for source, _ in found] == [[key] for *_, key in rows]
            if not same or (kind != "gz" and not all(image for _, image in found)):
                raise Wrong(f"{len(found)} of {len(rows)} rows, or others")
        for source, _ in found[:3]:
            ids = self.tokenizer.encode(source)
            if len(ids) < 2000 and "\n" in self.tokenizer.decode(ids):
                raise Wrong(f"a line became two: {source[:60]!r}")


class Output(Reader):
    """What ``mmt translate`` writes: one line out for each line in, whatever the model says."""

    name = "output"

    def prepare(self) -> None:
        from mmt.data.tokenizer import Tokenizer, train_tokenizer

        lines = [side for pair in sentences(60, 0) for side in pair]
        train_tokenizer(lines, 330, self.base / "tokenizer.model")
        self.tokenizer = Tokenizer(self.base / "tokenizer.model")

    def make(self, rng: Rng, folder: Path) -> Truth:
        num = int(rng.integers(1, 6))
        ids = [rng.integers(0, self.tokenizer.vocab_size, int(rng.integers(0, 9))).tolist() for _ in range(num)]
        given = [json.loads(json.dumps(one(rng, (text(rng), "\ud800x", "a\nb")))) for _ in range(num)]
        return Truth("output", whole=True, more=(ids, given, one(rng, ("o.txt", "o.jsonl")), one(rng, (1, 2))))

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.data.inputs import Line
        from mmt.inference.files import write_output
        from mmt.inference.torch_runtime import Translation
        from mmt.io.text_files import decode_lines

        ids, given, name, n_best = truth.more
        results = [
            (Line(number, source, source), [Translation(self.tokenizer.decode(i), 0.5, False)] * n_best)
            for number, (i, source) in enumerate(zip(ids, given, strict=True), 1)
        ]
        write_output(results, folder / name, n_best)
        with (folder / name).open("rb") as stream:
            lines = list(decode_lines(stream, name))
        if len(lines) != len(ids) * (1 if name == "o.jsonl" else n_best):
            raise Wrong(f"{len(lines)} lines of {len(ids)} sentences")
        if name == "o.jsonl" and [json.loads(line)["source"] for line in lines] != given:
            raise Wrong("other sources than were given")


# --- tables of the scripts that prepare data ---------------------------------------------------------------


class Tables(Reader):
    """Parallel files, TSV, CSV and JSON, as ``data_prep``, CoMMuTE and ``mmt score-pairs`` read them."""

    name = "tables"

    def make(self, rng: Rng, folder: Path) -> Truth:
        kind = one(rng, ("multi30k", "commute", "vqa-tsv", "vqa2", "gqa", "mosi", "n-best", "lexicon"))
        rows = keyed(rng, int(rng.integers(1, 8)), tabs=kind != "vqa-tsv", most=3)
        rows = [(sentence.replace("\r", " ") if kind == "mosi" else sentence, key) for sentence, key in rows]
        files: dict[str, bytes] = {}
        join = "\n".join
        if kind == "multi30k":
            files["raw/train.en"] = join(s for s, _ in rows).encode()
            files["raw/train.de.gz"] = gzip.compress(join(f"#{k}#" for _, k in rows).encode(), 1)
            files["splits/train.txt"] = join(f"#{k}#.png" for _, k in rows).encode()
        elif kind == "commute":
            files["src.en"] = join(s for s, _ in rows).encode()
            for name in ("correct.de", "incorrect.de", "img.order"):
                files[name] = join(f"#{k}# {name}" for _, k in rows).encode()
        elif kind == "vqa-tsv":
            body = [f"{n}\t#{k}#.jpg\t{s}\t#{k}# yes" for n, (s, k) in enumerate(rows)]
            files["pairs.tsv"] = join(["line\timage\tquestion\tanswer", *body]).encode()
        elif kind == "vqa2":
            keys = [int(k, 16) for _, k in rows]
            asked = [
                {"question_id": k, "image_id": k, "question": s} for k, (s, _) in zip(keys, rows, strict=True)
            ]
            said = [
                {
                    "question_id": k, "answers": [{"answer": f"#{k:08x}#"}],
                    "multiple_choice_answer": f"#{k:08x}#",
                    "answer_type": "other", "question_type": "what",
                }
                for k in keys
            ]  # fmt: skip
            rng.shuffle(said)  # type: ignore[arg-type]
            files["q.json"] = json.dumps({"questions": asked}).encode()
            files["a.json"] = json.dumps({"data_subtype": "train2014", "annotations": said}).encode()
        elif kind == "gqa":
            files["train_q.json"] = json.dumps({
                k: {"imageId": f"#{k}#", "question": s, "answer": f"#{k}#", "types": {"structural": "query"}}
                for s, k in rows
            }).encode()  # fmt: skip
        elif kind == "mosi":
            body = ['{},{},0.5,train,"{}"'.format(k, n, s.replace('"', '""')) for n, (s, k) in enumerate(rows)]
            files["label.csv"] = join(["video_id,clip_id,label,mode,text", *body]).encode()
            for n, (_, k) in enumerate(rows):
                files[f"wav/{k}/{n}.wav"] = b"x"
        elif kind == "n-best":
            body = [f"{n} ||| #{k}# ||| {-n / 2}" for n, (_, k) in enumerate(rows, 1) for _ in range(2)]
            files["n.best"] = join(body).encode()
        else:
            files["lexicon.json"] = json.dumps({
                "source_lang": "en", "target_lang": "de", "signature": "x",
                "words": [
                    {"word": k, "count": 3, "entropy": 1.0, "senses": [{"translation": s, "count": 3,
                    "probability": 0.5}]}
                    for s, k in rows
                ],
            }).encode()  # fmt: skip
        accident = one(rng, ("none", "bytes", "shape", "shape", "gone"))
        parallel = kind in ("multi30k", "commute")
        name = one(rng, [f for f in files if not f.startswith("wav/")])
        truth = Truth(f"{kind}, {accident}", more=(kind, rows), whole=False)
        packed = name.endswith(".gz")
        raw = gzip.decompress(files[name]) if packed else files[name]
        if accident == "bytes":
            files[name] = damaged(rng, files[name])
            truth.more = (kind, [])  # text has no checksum: of lines that were hit, nothing can be known
        elif accident == "gone":
            del files[name]
            truth.seen = True
        elif accident == "shape":
            if name.endswith(".json"):
                raw = damaged_json(rng, raw)
                truth.more = (kind, [])  # values of one row, exchanged for nonsense, are another table
            else:
                broken = raw.split(b"\n")
                at = int(rng.integers(len(broken)))
                if kind in ("vqa-tsv", "mosi") and at:
                    more = {"vqa-tsv": b"\tone more", "mosi": b", one more"}[kind]
                    broken[at] += more
                    truth.seen = True
                elif rng.random() < 0.5:
                    broken.insert(at, one(rng, (b"one more", b"", b" ")))
                    truth.seen = parallel
                else:
                    del broken[at]
                    truth.seen = parallel
                raw = b"\n".join(broken)
            files[name] = gzip.compress(raw, 1) if packed else raw
        write(folder, files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        kind, rows = truth.more
        keys = {key for _, key in rows}
        found: list[tuple[str, ...]] = []
        if kind == "multi30k":
            from data_prep.raw_text import read_raw

            pairs = read_raw(folder / "raw", folder / "splits", source="en", target="de")["train"]
            found = list(zip(*pairs, strict=True))
        elif kind == "commute":
            from mmt.evidence.contrastive import read_commute

            found = [(i.source, i.correct, i.incorrect, i.image) for i in read_commute(folder)]
        elif kind in ("vqa-tsv", "vqa2", "gqa"):
            from data_prep import vqa

            if kind == "vqa-tsv":
                splits = vqa.multi30k_vqa(folder / "pairs.tsv")
            elif kind == "vqa2":
                splits = vqa.vqa2([folder / "q.json"], [folder / "a.json"], folder)
            else:
                splits = vqa.gqa([folder / "train_q.json"])
            found = [(r["source"], r["target"], r["image"]) for of_split in splits.values() for r in of_split]
        elif kind == "mosi":
            from data_prep.mosi import prepare
            from mmt.data.dataset import read_split

            prepare(folder / "out", folder, missing="skip")
            found = [(row["id"], row["source"], row["image"]) for row in read_split(folder / "out", "train")]
            same = {row["id"].split("_")[0]: row["source"] for row in read_split(folder / "out", "train")}
            for key, source in same.items():
                same_key(keys, f"#{key}#", source)
        elif kind == "n-best":
            from mmt.inference.scoring import read_n_best

            read = read_n_best(folder / "n.best", max(len(rows), 1))
            for (_, key), candidates in zip(rows, read, strict=False):
                for candidate, _ in candidates:
                    same_key(keys, f"#{key}#", candidate)
        else:
            from mmt.metrics.ambiguity import Lexicon

            Lexicon.load(folder / "lexicon.json")
        for row in found:
            same_key(keys, *row)


# --- names that would be paths ------------------------------------------------------------------------------

HOSTILE_NAMES = (
    "in.png", "sub/in.png", "../secret.png", "sub/../../secret.png", "out.png", "outside/secret.png",
    "sub/out.png", "",
    ".", "..", "/", "//", "in.png/../../secret.png", "~/in.png", "in.png\0.jpg", "\0", "x" * 300 + ".png",
    "a/" * 3000 + "x",
    "\ud800.png", "in.png ", "C:\\secret.png", "..\\secret.png", "%2e%2e/secret.png", "‥/secret.png", "-rf",
    "$(touch x)",
    "nul", "loop.png", "pipe.png", "folder.png", "gone.png", "\u202egnp.ni", "in.PNG", "./in.png", "/dev/zero",
    "/proc/self/environ",
)  # fmt: skip


LINKS = ("out.png", "outside/secret.png", "sub/out.png")


class Names(Reader):
    """Image names out of sentences' files, datasets, indices and CoMMuTE: none leads out of the folder."""

    name = "names"

    def make(self, rng: Rng, folder: Path) -> Truth:
        from PIL import Image

        images = folder / "images"
        (images / "sub").mkdir(parents=True)
        for path in ("images/in.png", "images/sub/in.png", "secret.png"):
            Image.new("RGB", (4, 4), "red" if path == "secret.png" else "blue").save(folder / path)
        (images / "out.png").symlink_to(folder / "secret.png")
        (images / "sub/out.png").symlink_to("../../secret.png")
        (images / "outside").symlink_to(folder)
        (images / "loop.png").symlink_to("loop.png")
        (images / "folder.png").mkdir()
        os.mkfifo(images / "pipe.png")
        name = one(rng, HOSTILE_NAMES) if rng.random() < 0.8 else text(rng, most=3)
        if rng.random() < 0.2:
            name = str(folder / "secret.png")
        name = name.replace("{}", str(folder))
        return Truth(repr(name[:60]), more=(name, one(rng, ("files", "commute", "gallery", "split", "folder"))))

    def also_names(self, truth: Truth) -> Iterable[str]:
        return (truth.more[0],)

    def read(self, folder: Path, truth: Truth) -> None:
        name, where = truth.more
        images = folder / "images"
        if where == "files":
            from mmt.data.inputs import Images, Input, Line
            from mmt.inference.files import FileProcessor

            class _Looking:
                features = None
                tokenizer = SimpleNamespace(training=None)
                backbones = ()

                def refuse_images(self, what: str) -> None:
                    pass

            given = Input(iter(()), None, Images(folder=images), folder)
            work = FileProcessor(_Looking(), given)  # type: ignore[arg-type]
            found = work.image(Line(1, "x", name))
            if found is not None:
                self.inside(Path(found), images)
        elif where == "commute":
            from mmt.evidence.contrastive import Item, find_images

            items = [Item("a", "b", "c", name), Item("a", "c", "b", "in.png")]
            for path in find_images(items, images, missing="skip").images:
                self.inside(Path(path), images)
        elif where == "gallery":
            from mmt.inference.index import Index
            from mmt.inference.retrieve import Answer, Query
            from mmt.report.retrieval import render

            index = Index("images", [name], str(images), "exact", None)
            page = render([Query("a")], [[Answer(1, 0.5, name)]], index, folder)
            secret = render(
                [Query("a")], [[Answer(1, 0.5, "secret.png")]], replace(index, images=str(folder)), folder
            )
            picture = re.findall("data:image/jpeg[^\"']*", secret)
            if not picture or (picture[0] in page and name not in LINKS):
                raise Wrong("a picture from outside the folder is in the page")
        elif where == "split":
            from mmt.data.dataset import read_split

            data = make_dataset(folder / "data", {"test": 3})
            inner = folder / "data" / "data2"
            info = json.loads((data / "dataset.json").read_text())
            split = one(np.random.default_rng(zlib.crc32(name.encode("utf-8", "replace"))), (name, "../data/test"))
            info["splits"][split] = info["splits"]["test"]
            inner.mkdir()
            (inner / "dataset.json").write_text(json.dumps(info))
            read_split(inner, split)
            raise Wrong(f"a split was read from outside the folder: {split!r}")
        else:
            from mmt.features.images import find_images

            for path in find_images(images).values():
                self.inside(path, images)

    @staticmethod
    def inside(path: Path, folder: Path) -> None:
        if not Path(os.path.normpath(path)).is_relative_to(folder):  # links are the user's own, and followed
            raise Wrong(f"leads out of the folder: {path}")


# --- features ---------------------------------------------------------------------------------------------


def row_of(name: str, dim: int = DIM) -> NDArray[np.float32]:
    """What belongs to ``name``: no other name has the same."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(-9, 9, dim).astype(np.float32) + 0.5


class Features(Reader):
    """Feature stores, whole, damaged, of one set or two, and half-written ones that are taken up."""

    name = "features"

    def prepare(self) -> None:
        from mmt.data.feature_signature import FeatureSignature
        from mmt.features.writer import FeatureWriter

        self.ids = [f"im-{n}.png" for n in range(9)] + ["Ein Bär\u2028\x85.jpg"]
        for store in ("a", "b"):
            signature = FeatureSignature("tiny", "pool", "none" + store, "ab" * 32, 1, DIM)
            with FeatureWriter(self.base / store, signature, "float16") as writer:
                for first in (0, 5):
                    part = self.ids[first : first + 5]
                    writer.append(part, np.stack([row_of(name)[None] for name in part]), {"bad.png": "damaged"})
                if store == "a":
                    self.half = files_of(self.base / "a")
                writer.finish()
        self.signature = signature
        self.signature_a = replace(signature, transform="nonea")

    def make(self, rng: Rng, folder: Path) -> Truth:
        files = files_of(self.base / "a")
        kind = one(rng, ("none", "ids", "ids", "rows", "meta", "meta", "gone", "other", "half", "joined", "old"))
        truth = Truth(kind, more=kind)
        if kind in ("ids", "joined"):
            lines = files["ids.txt"].decode().split("\n")[:-1]
            how = one(rng, ("shuffled", "dropped", "doubled", "swapped", "renamed", "bytes", "cased"))
            at, other = (int(n) for n in rng.choice(len(lines), 2, replace=False))
            if how == "shuffled":
                lines = lines[1:] + lines[:1] if rng.random() < 0.5 else lines[::-1]
            elif how == "dropped":
                del lines[at]
            elif how == "doubled":
                lines.insert(at, lines[other])
            elif how == "swapped":
                lines[at], lines[other] = lines[other], lines[at]
            elif how == "renamed":
                lines[at] = "im-99.png"
            elif how == "cased":
                lines[at] = lines[at].upper()
            raw = "".join(line + "\n" for line in lines).encode()
            files["ids.txt"] = damaged(rng, raw) if how == "bytes" else raw
            # what stands behind the ids that count belongs to rows that are still being added
            truth.seen = not files["ids.txt"].startswith(files_of(self.base / "a")["ids.txt"])
            truth.kind += f" {how}"
        elif kind == "rows":
            how = one(rng, ("cut", "bytes", "row gone", "moved"))
            raw = files["features.bin"]
            size = 2 * DIM
            if how == "cut":
                raw = raw[: int(rng.integers(len(raw)))]
                truth.seen = True
            elif how == "row gone":
                raw = raw[size:] + (raw[:size] if rng.random() < 0.5 else b"")
            elif how == "moved":
                raw = raw[size * 2 :] + raw[: size * 2]
            else:
                raw = damaged(rng, raw)
            truth.more = "rows" if not raw.startswith(files["features.bin"]) else "none"
            files["features.bin"] = raw
            truth.kind += f" {how}"
        elif kind in ("meta", "old"):
            if kind == "old":  # as stores were before they had checksums
                meta = json.loads(files["meta.json"])
                meta.pop("sha256", None)
                files["meta.json"] = json.dumps(meta).encode()
            if kind == "meta" or rng.random() < 0.7:
                files["meta.json"] = damaged_json(rng, files["meta.json"])
        elif kind == "gone":
            name = one(rng, list(files))
            del files[name]
            if rng.random() < 0.5:
                (folder / "s" / name).mkdir(parents=True)
            truth.seen = True
        elif kind == "other":
            (folder / "s").write_bytes(b"x")
            truth.seen = True
            return truth
        elif kind == "half":
            files = dict(self.half)
            raw = files["journal.jsonl"]
            files["journal.jsonl"] = raw[: int(rng.integers(len(raw) + 1))]
            if rng.random() < 0.3:
                files["features.bin"] = files["features.bin"][: int(rng.integers(len(files["features.bin"])))]
            if rng.random() < 0.3:
                files["journal.jsonl"] = damaged_json(rng, b'{"ids": ["x"], "left_out": {}}') + b"\n"
                truth.more = "half, no journal"
            truth.whole = truth.more == "half"
        truth.whole |= kind == "none"
        write(folder / "s", files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.data.feature_store import FeatureStore, open_features
        from mmt.features.writer import FeatureWriter

        kind = truth.more
        if kind.startswith("half"):
            with FeatureWriter(folder / "s", self.signature_a, "float16") as writer:
                new = [name for name in self.ids if name not in writer]
                if new:
                    writer.append(new, np.stack([row_of(name)[None] for name in new]))
                store = writer.finish()
        else:
            store = FeatureStore.open(folder / "s")
        rows = store.get(store.ids)
        if kind == "joined":
            both = open_features([self.base / "b", folder / "s"])
            rows = both.get(store.ids)[:, 1:]
        if kind == "rows":
            store.verify()
            raise Wrong("damaged rows were not seen by a full check")
        if kind in ("old", "half, no journal"):
            return
        if kind == "meta" and (store.dtype != "float16" or rows.shape[1:] != (1, DIM)):
            return  # another size is what the description says, and no row is named by it
        for name, row in zip(store.ids, rows, strict=True):
            if name not in self.ids or not np.array_equal(row[0], row_of(name)):
                raise Wrong(f"features of another image for {name!r}")


# --- prepared data ------------------------------------------------------------------------------------------


class Data(Reader):
    """Prepared datasets: Arrow files, their descriptions, and ours."""

    name = "data"

    def prepare(self) -> None:
        from mmt.data.dataset import read_info, read_split

        make_dataset(self.base / "data", {"train": 12, "val": 4, "test": 4})
        self.files = files_of(self.base / "data")
        info = read_info(self.base / "data")
        self.rows = {split: list(read_split(self.base / "data", split)) for split in info.splits}

    def make(self, rng: Rng, folder: Path) -> Truth:
        files = dict(self.files)
        kind = one(rng, ("none", "info", "info", "arrow", "arrow", "arrow", "json", "gone", "swapped"))
        truth = Truth(kind, whole=kind == "none", more=kind)
        arrow = [name for name in files if name.endswith(".arrow")]
        if kind == "info":
            files["dataset.json"] = damaged_json(rng, files["dataset.json"])
        elif kind == "arrow":
            name = one(rng, arrow)
            files[name] = damaged(rng, files[name])
        elif kind == "json":
            name = one(rng, [n for n in files if n.endswith(".json") and n != "dataset.json"])
            files[name] = damaged_json(rng, files[name])
        elif kind == "gone":
            name = one(rng, [n for n in files if n != "dataset_dict.json"])
            del files[name]
            if rng.random() < 0.3:
                (folder / "d" / name).mkdir(parents=True)
        elif kind == "swapped":
            one_file, other = (str(name) for name in rng.choice(arrow, 2, replace=False))
            files[one_file], files[other] = files[other], files[one_file]
            truth.seen = True
        write(folder / "d", files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.data.dataset import first_test_split, image_folder, read_info, read_split
        from mmt.data.inputs import Images, open_data

        info = read_info(folder / "d")
        image_folder(folder / "d", info)
        first_test_split(folder / "d")
        for split in info.splits:
            rows = list(read_split(folder / "d", split))
            if rows != self.rows.get(split):
                raise Wrong(f"other rows in {split}: {str(rows)[:200]}")
            lines = list(open_data(folder / "d", split, Images(), with_images=True).lines)
            for line, row in zip(lines, self.rows[split], strict=True):
                if (line.source, line.image) != (row["source"], row["image"] if row["has_image"] else None):
                    raise Wrong("a sentence with another image")


# --- model folders and weights --------------------------------------------------------------------------------


def world(base: Path) -> Path:
    """What ``tests.worlds.tiny_folder`` needs."""
    from mmt.data.tokenizer import train_tokenizer
    from tests.worlds import make_features

    make_features(base / "features", ["a.png", "b.png"])
    train_tokenizer((side for pair in sentences(60, 0) for side in pair), 330, base / "tokenizer.model")
    return base


class Models(Reader):
    """Model folders: weights, tokenizer and card, with and without the card's checksums; then one translation."""

    name = "models"

    def prepare(self) -> None:
        here = world(self.base)
        self.files = {
            name: files_of(tiny_folder(here / name, here, name)) for name in ("none", "gated", "selective")
        }

    def make(self, rng: Rng, folder: Path) -> Truth:
        fusion = one(rng, list(self.files))
        files = dict(self.files[fusion])
        kind = one(rng, ("none", "weights", "tokenizer", "card", "card", "card", "gone", "swapped", "old", "old"))
        truth = Truth(f"{fusion}, {kind}", whole=kind == "none", more=kind)
        if kind == "old":
            card = json.loads(files["mmt.json"])
            card.pop("sha256", None)
            files["mmt.json"] = json.dumps(card).encode()
        name = {"weights": "model.safetensors", "tokenizer": "tokenizer.model", "card": "mmt.json"}.get(kind)
        if kind == "old":
            name = one(rng, ("model.safetensors", "tokenizer.model", "mmt.json"))
        if name == "mmt.json":
            files[name] = damaged_json(rng, files[name])
        elif name is not None:
            files[name] = damaged(rng, files[name])
            truth.seen = kind != "old"
        elif kind == "gone":
            name = one(rng, list(files))
            del files[name]
            if rng.random() < 0.5:
                (folder / "m" / name).mkdir(parents=True)
            truth.seen = True
        elif kind == "swapped":
            other = one(rng, [key for key in self.files if key != fusion])
            files["model.safetensors"] = self.files[other]["model.safetensors"]
            truth.seen = True
        write(folder / "m", files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.inference.torch_runtime import Translator

        translator = Translator.from_dir(folder / "m")
        rows = None
        if translator.card.features is not None:
            rows = np.ones((translator.card.features.num_regions, translator.card.features.dim), np.float32)
        if translator.card.config.get("writes", True):
            translator.features_of = lambda images: [rows] * len(images)  # type: ignore[method-assign]
            beams = translator.card.decoding.get("beam_size", 5)
            if beams > 50:
                return  # is slow, and says so in the card
            translator.translate(["A dog finds the cat."], ["x.png"] if rows is not None else None)

    def also_names(self, truth: Truth) -> Iterable[str]:
        return ("sentence 1:",)


class Weights(Reader):
    """Files of weights, checkpoints of the training stack and arrays: none runs code, whatever is in it."""

    name = "weights"

    def prepare(self) -> None:
        import torch
        from safetensors.torch import save

        state = tiny_model(330).state_dict()
        torch.save(state, self.base / "w.pth")
        torch.save({"model": state}, self.base / "in.pth")
        (self.base / "w.safetensors").write_bytes(save({k: v.clone().contiguous() for k, v in state.items()}))
        self.files = files_of(self.base)

    def make(self, rng: Rng, folder: Path) -> Truth:
        import pickle

        import torch

        sentinel = folder / "was_run"

        class Hostile:
            def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
                return os.mkdir, (str(sentinel),)

        kind = one(rng, ("damaged", "damaged", "pickle", "hostile", "hostile in a zip", "array"))
        name = one(rng, list(self.files))
        raw = self.files[name]
        truth = Truth(f"{name}, {kind}", more=(name, sentinel), seen=kind not in ("damaged", "pickle"))
        if kind == "damaged":
            raw = damaged(rng, raw)
        elif kind == "pickle":
            raw = pickle.dumps(one(rng, ({"a": 1}, [1], "x", {"a": torch.ones(1)}, None)))
        elif kind == "hostile":
            raw = pickle.dumps({"a": Hostile()}, protocol=int(rng.integers(0, 6)))
        elif kind == "hostile in a zip":
            torch.save({"a": Hostile(), "b": torch.ones(2)}, folder / name)
            raw = (folder / name).read_bytes()
        else:
            np.save(folder / "x.npy", np.array([Hostile()], object), allow_pickle=True)
            raw = (folder / "x.npy").read_bytes()
        write(folder, {name: raw, "checkpoints/step_1/model/pp_00/tp_00/sdp_00.pt": raw})
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.features.vision import read_weights
        from mmt.training.checkpoints import load_weights

        name, sentinel = truth.more
        try:
            read_weights(folder / name)
            if name.endswith(".pth"):
                load_weights(folder, 1)
        finally:
            if sentinel.exists():
                raise Wrong("code in a file of weights was run")


# --- the index ------------------------------------------------------------------------------------------------


class IndexReader(Reader):
    """The index of ``mmt retrieve``, exact and by HNSW."""

    name = "index"

    def prepare(self) -> None:
        import mmt.inference.index

        here = world(self.base)
        self.model = tiny_folder(here / "model", here, "none")
        self.items = [f"item-{n}.png" for n in range(8)] + ["Bär\u2028.jpg", "<b>"]
        vectors = np.stack([self.vector(item) for item in self.items])
        before = mmt.inference.index.EXACT_BELOW
        mmt.inference.index.write_index(here / "exact", "images", self.items, vectors, self.model)
        mmt.inference.index.EXACT_BELOW = 2
        mmt.inference.index.write_index(here / "hnsw", "images", self.items, vectors, self.model)
        mmt.inference.index.EXACT_BELOW = before
        self.files = {name: files_of(here / name) for name in ("exact", "hnsw")}

    @staticmethod
    def vector(item: str) -> NDArray[np.float32]:
        row = np.random.default_rng(zlib.crc32(item.encode())).normal(size=16).astype(np.float32)
        found: NDArray[np.float32] = row / np.linalg.norm(row)
        return found

    def make(self, rng: Rng, folder: Path) -> Truth:
        which = one(rng, ("exact", "hnsw"))
        files = dict(self.files[which])
        kind = one(rng, ("none", "info", "items", "items", "vectors", "search", "gone", "other"))
        truth = Truth(f"{which}, {kind}", whole=kind == "none", more=kind)
        if kind == "info":
            files["index.json"] = damaged_json(rng, files["index.json"])
        elif kind == "items":
            items = list(self.items)
            rng.shuffle(items)
            raw = json.dumps(items).encode()
            files["items.json"] = raw if rng.random() < 0.5 and items != self.items else damaged_json(rng, raw)
            truth.seen = files["items.json"] != self.files[which]["items.json"]
        elif kind in ("vectors", "search"):
            name = "search.faiss" if kind == "search" and which == "hnsw" else "vectors.npy"
            files[name] = damaged(rng, files[name])
            truth.seen = True
        elif kind == "gone":
            name = one(rng, list(files))
            del files[name]
            if rng.random() < 0.5:
                (folder / "i" / name).mkdir(parents=True)
            truth.seen = True
        elif kind == "other":  # a file of another kind of index, or of object arrays
            np.save(folder / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
            files["vectors.npy"] = (folder / "x.npy").read_bytes()
            truth.seen = True
        write(folder / "i", files)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.inference.index import open_index

        index = open_index(folder / "i", self.model)
        queries = np.stack([self.vector(item) for item in self.items])
        rows, _ = index.search(queries, 3)
        found = [index.items[row[0]] for row in rows.tolist()]
        if found != self.items:
            raise Wrong(f"found {found[:4]}")
