#!/bin/sh
# Measures mmt on a GPU against plain PyTorch and transformers: eval/bench/gpu.sh OUT.json [--tiny]
# Stopped after 8 minutes, whatever happens; OUT.json then holds the sections that were done. See eval/bench/gpu.py.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec timeout -k 10 480 "${PYTHON:-python3}" -m eval.bench.gpu "$@"
