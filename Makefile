# make demo   show that a picture changes a translation (trains two small models)
# make check  lint, types and the fast tests: before each commit
# make test   lint, types and all tests: before each merge
# make lint   ruff, mypy, spelling and the import contracts
# make docs   build the documentation site into build/docs, tutorials included: about three minutes
# make clean  remove the environment and everything built
# All of them first install mmt into .venv. PYTHON=... picks another interpreter than the newest that works.
PYTHON ?= $(firstword $(shell .ci/pythons))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Tests that need neither processes, real data nor a training: about 30 s of processor time.
FAST := $(addprefix tests/,model/test_fusion.py model/test_attention.py model/test_losses.py data/test_batch.py \
	data/test_tokenizer.py data/test_feature_store.py metrics/test_labels.py metrics/test_significance.py \
	metrics/test_translation.py training/test_config.py training/test_config_file.py training/test_tasks.py \
	inference/test_controls.py cli/test_interface.py integration/test_distribution.py integration/test_documents.py)

STARTS_PROCESSES := test_a_model_with_a_fusion_of_ones_own_is_loaded_where_its_module_is_imported

.PHONY: help demo check test lint fast docs install clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no working Python 3.11 or 3.12 with venv and ensurepip. Install one."; exit 1; }
	$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m recipes.demo demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy

fast: $(STAMP)
	$(BIN)/pytest -x $(FAST) --deselect tests/model/test_fusion.py::$(STARTS_PROCESSES)

check: lint fast

test: lint
	@# The tests start many processes, each of which would compile mmt anew without the files of bytecode.
	@# If one of the two workers crashes, the run ends; with a new one in its place, pytest-xdist waits forever.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

docs: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

clean:
	rm -rf $(VENV) build dist *.egg-info demo
