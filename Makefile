# `make demo` and `make test` set everything up: they need python3.11 or newer, pip and make, and use uv when it is there.
# `make install` needs the same; PREFIX is the program's own folder, DESTDIR is for those who make packages.
PY ?= python3
VENV ?= .venv$(if $(filter-out python3,$(notdir $(PY))),-$(notdir $(PY)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
UV := $(shell command -v uv 2>/dev/null)
WORKERS ?= 2
STORIES ?= 2000
SPOILT ?= 20000
MACHINES := $(wildcard tests/property/test_*_machine.py)
DESTDIR ?=
PREFIX ?= /opt/reconciler
BINDIR ?= /usr/local/bin
SYSCONFDIR ?= /etc
UNITDIR ?= /usr/local/lib/systemd/system
PLACES = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' SYSCONFDIR='$(SYSCONFDIR)' UNITDIR='$(UNITDIR)' PY='$(PY)'
REPAIR := tests/e2e/test_verify.py::test_a_kill_at_any_write_of_a_repair_doubles_nothing

.DEFAULT_GOAL := help
.PHONY: help demo install uninstall test lint units check-install crash soak format requirements clean

help:
	@echo "make demo          run the main job against stand-ins for GitLab and Rally on this machine"
	@echo "make install       install or upgrade the program, its config and its units (as root; PREFIX=/opt/reconciler)"
	@echo "make uninstall     remove what make install put there; config, secrets and ledgers stay"
	@echo "make test          run the tests (PY=python3.13 picks another Python, VENV=... another place)"
	@echo "make lint          ruff, mypy and the import contract"
	@echo "make units         systemd-analyze on the units in systemd/; fetches systemd where it is not installed"
	@echo "make check-install install into an empty folder, run what is there, upgrade it, remove it"
	@echo "make format        let ruff rewrite what it can"
	@echo "make requirements  pin the dependencies again (needs uv)"
	@echo "make crash         kill the program before and after every write and commit, and tell how many those were"
	@echo "make bench         measure against the stand-ins and print a table, eight minutes (BENCH=--quick: one)"
	@echo "make soak          the long forms, for hours: random stories (STORIES=2000 of each machine), spoilt files"
	@echo "                   (SPOILT=20000 of each kind), outages of days minute by minute, copies of a ledger in use"
	@echo "make clean         remove what the targets above made"

demo: $(STAMP)
	$(BIN)/reconciler demo

install:
	@$(PLACES) systemd/install

uninstall:
	@$(PLACES) systemd/uninstall

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

crash: $(STAMP)
	KILL_AT_EVERY_WRITE=1 $(BIN)/python -m pytest -n $(WORKERS) --timeout 7200 tests/crash $(REPAIR) $(MACHINES)

bench: $(STAMP)
	$(BIN)/python -m bench $(BENCH)

# Each variable makes some tests long, and the machines and spoilt files new ones each time.
soak: $(STAMP)
	MACHINE_EXAMPLES=$(STORIES) FUZZ_EXAMPLES=$(SPOILT) LONG_OUTAGE=1 BACKFILL_PIPELINES=5000 $(BIN)/python -m pytest -n $(WORKERS) \
		--timeout 86400 $(MACHINES) $(wildcard tests/property/test_fuzz_*.py) \
		tests/e2e/test_outage.py tests/e2e/test_ledger_lost.py tests/e2e/test_backfill.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

units:
	@systemd/check

check-install:
	@PY='$(PY)' systemd/check-install

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
	echo 'hatchling>=1.27,<2' | uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header -c requirements-dev.txt - -o requirements-build.txt

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
