"""The commands of the README and of the guides do what these say."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from string import Template

import click
import pytest
from PIL import Image

from tests import warm
from tests.worlds import sentences

ROOT = Path(__file__).parents[2]
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "recipes" / "README.md")
}
BLOCKS = re.findall(r"```sh\n(.*?)```", "\n".join(PAGES.values()), re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
SMALL = [
    "text.vocab_size=330",
    "regime.num_steps=4",
    "regime.cooldown_steps=0",
    "regime.report_every=2",
    "regime.validate_every=2",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "decoding.beam_size=1",
    "decoding.export=false",
    "threads=1",
]


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    """A folder as ``$MULTI30K`` is described, with eight sentences a split and every second photograph."""
    folder = tmp_path / "multi30k"
    for part in ("raw", "image_splits", "images"):
        (folder / part).mkdir(parents=True)
    for seed, (split, num) in enumerate({"train": 60, "val": 8, "test_2016_flickr": 8}.items()):
        pairs = sentences(num, seed)
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            if split == "test_2016_flickr" and language == "de":
                import gzip

                (folder / "raw" / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))
            else:
                (folder / "raw" / f"{split}.{language}").write_text(text)
        names = [f"{split}{number}.jpg" for number in range(num)]
        (folder / "image_splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for number in range(0, num, 20 if split == "train" else 2):
            Image.effect_noise((40, 30), 50 + number).convert("RGB").save(folder / "images" / names[number])
    return folder


def test_multi30k_in_five_commands(multi30k: Path, tmp_path: Path) -> None:
    """The commands as they stand, on a small Multi30K and with a short training."""
    page = PAGES[ROOT / "docs" / "multi30k.md"]
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]
    assert len(commands) == 5
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    environment = {
        **os.environ,
        "MULTI30K": str(multi30k),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "OMP_NUM_THREADS": "1",
    }
    said = ""
    for command in commands:
        if command.startswith("mmt train"):
            command += "".join(f" --config {shlex.quote(setting)}" for setting in SMALL)
        words = shlex.split(Template(command).substitute(environment))
        if words[0] == "python":
            words[0] = sys.executable
        elif words[1] != "score":  # which needs neither torch nor fairseq2, and runs as it stands
            words = [sys.executable, "-m", "mmt.cli", *words[1:]]
        done = warm.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr
        said += done.stdout + done.stderr
    assert len((tmp_path / "gated.de").read_bytes().split(b"\n")) == 9
    assert "8 sentences, 4 with image" in said
    for word in ("BLEU", "chrF2", "papers"):
        assert word in said


@pytest.mark.parametrize("command", [c for c in COMMANDS if "mmt " in c or c.startswith("python -m")])
def test_every_option_of_a_command_exists(command: str) -> None:
    import importlib

    from mmt.cli import main as cli

    # Of a loop, a pipe or a launcher, the command itself.
    words = shlex.split(re.sub(r"^.*?(?=mmt |python -m )", "", command.rpartition("| ")[2]))
    if words[0] == "python":
        main = importlib.import_module(words[2]).main
        options = (main.commands[words[3]] if hasattr(main, "commands") else main).params
    else:
        subcommand: click.Command | None = cli.main
        while isinstance(subcommand, click.Group):
            words = words[1:]
            subcommand = subcommand.get_command(click.Context(subcommand), words[0])
        assert subcommand is not None
        options = subcommand.params
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_every_recipe_that_is_named_exists() -> None:
    lost = [
        f"{path.relative_to(ROOT)}: {config}"
        for path, text in PAGES.items()
        for config in re.findall(r"recipes/configs/\S+\.yaml", text)
        if not (ROOT / config).exists() and not re.search(r"NAME|\$", config)
    ]
    assert lost == []
