# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs, once.
# make demo ECG=path   the same on your own file          make check   ruff, mypy, import directions
# make demo SERVE=1    and the platform's page stays open
# make bench           side by side with the peers        make clean   forget the environment
# make screenshots     every screen of the platform, at two widths, into docs/screens (needs Chromium)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ECG    ?=
SERVE  ?=
OUT    ?= out/demo
JOBS   ?= 2

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

.PHONY: demo test check bench screenshots clean setup setup-dev setup-bench

demo: setup
	@$(BIN)/python -m einthoven demo --out "$(OUT)" --platform $(if $(SERVE),stay,once) $(if $(ECG),"$(ECG)")

test: setup-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: setup-bench
	$(BIN)/python bench/run.py

screenshots: setup-dev
	$(BIN)/python docs/screenshots.py

# A stamp a stage: rebuilt when what it was made from changes, free otherwise.
setup: $(VENV)/.base
setup-dev: $(VENV)/.dev
setup-bench: $(VENV)/.bench

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Einthoven needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@touch $@

$(VENV)/.base: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Setting up Einthoven in $(VENV) (once, a minute or two) ..." >&2
	@$(PIP) -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "Setting up the tests' tools in $(VENV) (once) ..." >&2
	@$(PIP) torch==2.13.0
	@$(PIP) -e '.[train,dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(PIP) -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
