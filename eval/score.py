"""``python -m eval.score``: the same as ``mmt score``."""

from mmt.cli.score import score_command

if __name__ == "__main__":
    score_command(prog_name="python -m eval.score")
