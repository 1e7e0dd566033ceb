"""Laws of the model folder's card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.worlds import tiny_folder


def test_a_card_and_its_tokenizer_are_read_without_torch_and_fairseq2(world: Path, tmp_path: Path) -> None:
    """So that an exported model translates where neither is installed."""
    folder = tiny_folder(tmp_path / "model", world, "gated")
    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['fairseq2'] = None\n"  # importing either of them fails
        "from pathlib import Path\n"
        "from mmt.model.card import check_files, load_tokenizer, read_card\n"
        "folder = Path(sys.argv[1])\n"
        "card = read_card(folder)\n"
        "check_files(folder, card, card.sha256)\n"
        "print(card.config['fusion'], len(load_tokenizer(folder, card).encode('A dog.')) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
    assert done.stdout == "gated True\n", done.stderr
