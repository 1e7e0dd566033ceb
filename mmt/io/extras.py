"""The installs: a small one, which translates with exported models and scores, a full one with torch; extras."""

from __future__ import annotations

from importlib.util import find_spec

OURS = ("mmt", "data_prep", "eval", "recipes")
SERVE = ("fastapi", "fastapi_offline", "gradio", "prometheus_client", "python_multipart", "starlette", "uvicorn")
"""Packages of the extra ``serve``."""


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install where a command needs a package that the small install lacks.

    Args:
        error: raised by an import.
    Returns:
        A message in one line; None if it is there with the full install, so that the error is another one.
    """
    package = (error.name or "").partition(".")[0]
    if package in SERVE:
        return f"the package {package} is missing. pip install 'mmt-toolkit[serve]'."
    if package == "huggingface_hub":
        return "the package huggingface_hub is missing. pip install 'mmt-toolkit[hf]'."
    if package in ("ray", "submitit"):
        extra = "ray" if package == "ray" else "slurm"
        return f"the package {package} is missing. pip install 'mmt-toolkit[{extra}]'."
    if package == "optuna":
        return "the package optuna is missing. pip install 'mmt-toolkit[tune]'."
    if not package or package in OURS or find_spec("torch") is not None:
        return None
    return (
        f"the package {package} is missing: the small install translates with exported models and scores, nothing "
        "else. pip install 'mmt-toolkit[train]' (Python 3.11 or 3.12)."
    )
