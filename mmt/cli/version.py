"""``mmt --version -v``: versions of mmt and of what it runs on, for bug reports."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "fairseq2",
    "fairseq2n",
    "numpy",
    "sentencepiece",
    "sacrebleu",
    "pillow",
    "click",
    "rich",
    "safetensors",
    "onnxruntime",
    "onnx",
    "onnxscript",
    "openvino",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "datasets",
    "timm",
    "scipy",
    "httpx",
    "fastapi",
    "uvicorn",
    "gradio",
    "filelock",
)
"""Distributions whose versions are listed. None is imported: that would take seconds, or fail."""
_FEATURES = (
    "sse4_2", "avx", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""What the matrix products of torch and ONNX Runtime choose their kernels by: x86, then ARM."""


def report(own_version: str) -> str:
    """Versions, system and CPU, one a line, ``name  value``."""
    model, features = cpu()
    rows = [
        ("mmt", own_version),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver()) or 'unknown libc'}"),
        ("CPU", f"{model}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable"),
        ("CPU features", " ".join(features) or "none that matter here"),
        ("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "not set")),
        *((name, _version(name)) for name in PACKAGES),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def cpu() -> tuple[str, list[str]]:
    """The CPU's name and those of its instruction sets that matter here, from /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    there = set(flags[1].split()) if flags else set()
    return name[1].strip() if name else platform.machine() or sys.platform, [
        one for one in _FEATURES if one in there
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
