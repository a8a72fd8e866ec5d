# The environment lives in .venv inside the clone; stamp files make repeated runs quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROMPTS ?= benchmarks/prompts
BENCH_FLAGS ?=
# of `make retrieval`: the data sets, and a folder that keeps indexes and answers from run to run
DATA ?= ../shared/data
WORK ?= build/retrieval

.DEFAULT_GOAL := help
.PHONY: help demo test check bench retrieval docs clean env weights

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: weights  ## From a fresh clone to an answer with its sources, then evidence against belief
	@bash scripts/demo.sh $(BIN)

test: check weights  ## Everything that must hold: static checks, then all tests
	$(BIN)/pytest

check: env  ## Static checks: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: weights  ## Compare decoding speed with plain generation on the benchmark prompts
	@bash benchmarks/run.sh $(BIN) $(PROMPTS) $(BENCH_FLAGS)

retrieval: weights  ## Measure retrieval on judged sets, and answers by amount of evidence (long; resumes)
	$(BIN)/python benchmarks/retrieval_quality.py --data $(DATA) --work $(WORK)
	$(BIN)/python benchmarks/evidence_sweep.py --data $(DATA) --work $(WORK)
	$(BIN)/python benchmarks/evidence_report.py $(WORK) --images $(WORK)

docs: weights  ## Check the guides: links, YAML blocks, the README's code
	$(BIN)/pytest -q tests/docs

clean:  ## Remove the environment and everything built; model weights in the user's cache stay
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env: $(INSTALLED)  ## Make the environment

weights: env  ## Fetch and convert the default models, once
	@$(BIN)/ragdecode models pull --all-default

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ragdecode needs Python 3.11 or newer; set PYTHON=..., this is $$($(PYTHON) --version)" >&2; exit 1; }
	@echo "Making the environment in $(VENV) (once; a few minutes)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch $@
