# `make demo` and `make test` set everything up: they need python3.11 or newer, pip and make, and use uv when it is there.
PY ?= python3
VENV ?= .venv$(if $(filter-out python3,$(notdir $(PY))),-$(notdir $(PY)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
UV := $(shell command -v uv 2>/dev/null)
WORKERS ?= 2
STORIES ?= 2000
SPOILT ?= 20000
MACHINES := $(wildcard tests/property/test_*_machine.py)
REPAIR := tests/e2e/test_verify.py::test_a_kill_at_any_write_of_a_repair_doubles_nothing

.DEFAULT_GOAL := help
.PHONY: help demo test lint crash soak format requirements clean

help:
	@echo "make demo          run the main job against stand-ins for GitLab and Rally on this machine"
	@echo "make test          run the tests (PY=python3.13 picks another Python, VENV=... another place)"
	@echo "make lint          ruff, mypy and the import contract"
	@echo "make format        let ruff rewrite what it can"
	@echo "make requirements  pin the dependencies again (needs uv)"
	@echo "make crash         kill the program before and after every write and commit, and tell how many those were"
	@echo "make soak          the long forms, for hours: random stories (STORIES=2000 of each machine), spoilt files"
	@echo "                   (SPOILT=20000 of each kind), outages of days minute by minute, copies of a ledger in use"
	@echo "make clean         remove what the targets above made"

demo: $(STAMP)
	$(BIN)/reconciler demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

crash: $(STAMP)
	KILL_AT_EVERY_WRITE=1 $(BIN)/python -m pytest -n $(WORKERS) --timeout 7200 tests/crash $(REPAIR) $(MACHINES)

# Each variable makes some tests long, and the machines and spoilt files new ones each time.
soak: $(STAMP)
	MACHINE_EXAMPLES=$(STORIES) FUZZ_EXAMPLES=$(SPOILT) LONG_OUTAGE=1 $(BIN)/python -m pytest -n $(WORKERS) \
		--timeout 86400 $(MACHINES) $(wildcard tests/property/test_fuzz_*.py) \
		tests/e2e/test_outage.py tests/e2e/test_ledger_lost.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "reconciler needs Python 3.11 or newer; $(PY) is $$($(PY) --version). Try: make $(MAKECMDGOALS) PY=python3.11"; exit 1; }
ifneq ($(UV),)
	$(UV) venv --quiet --allow-existing --python $(PY) $(VENV)
	UV_COMPILE_BYTECODE=1 $(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
# Without pip: Debian's python3 cannot put one into a venv unless python3-venv is there; its own pip can fill the venv.
	$(PY) -m venv --without-pip $(VENV)
	$(PY) -m pip --python $(BIN)/python install --quiet --require-hashes -r requirements-dev.txt
	$(PY) -m pip --python $(BIN)/python install --quiet --no-deps --no-build-isolation -e .
endif
	@touch $(STAMP)

requirements:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
