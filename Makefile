# Everything a newcomer needs: `make quickstart`, `make test`. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICKSTART := quickstart
QUALITY := quality
# Half of a test run is waiting, so a few more than there are cores; each file is run by one process.
TESTS_AT_ONCE ?= 3

.PHONY: install quickstart test test-long lint lock bench quality chaos clean

install: $(VENV)/.installed

# The lock holds for CPython 3.11 on Linux x86-64; elsewhere the ranges of pyproject.toml are resolved.
$(VENV)/.installed: pyproject.toml requirements.lock
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh cluster/install.sh
	@touch $@

quickstart: install
	$(BIN)/python pipelines/run.py quickstart --set data.root=$(QUICKSTART)/videos --set store=$(QUICKSTART)/store
	@echo
	@echo "videos   $(CURDIR)/$(QUICKSTART)/videos"
	@echo "results  $(CURDIR)/$(QUICKSTART)/store (the page is named above)"
	@echo "next     $(BIN)/python pipelines/run.py features --set data.root=FOLDER --set store=STORE --plan"

test: install
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder -m "not long"

# Thousands of processes would each compile the project anew where the environment forbids to keep that.
test test-long: export PYTHONDONTWRITEBYTECODE =

# What `make test` leaves out to stay below 20 minutes.
test-long: install
	$(BIN)/python -m pytest -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Freezes what is installed; no addresses, no hashes, one exact version a line.
lock: install
	@{ echo "# Exact versions for CPython 3.11 on Linux x86-64; written by 'make lock'."; \
	   $(BIN)/python -m pip freeze --exclude tubeflow --exclude pip --exclude setuptools; } > requirements.lock

bench: install
	$(BIN)/python benchmarks/run_all.py

# Nodes, and drivers, killed at random on a cluster on this machine: minutes per seed. CHAOS_SEEDS="1 2" repeats.
CHAOS_SEEDS := $(or $(CHAOS_SEEDS),$(shell shuf -i 1-99999 -n 3))
chaos: install
	@echo "seeds: $(CHAOS_SEEDS)"
	TUBEFLOW_CHAOS_SEEDS="$(CHAOS_SEEDS)" $(BIN)/python -m pytest -s tests/faults/test_chaos.py

# SOLV on sprites L2, three seeds: up to an hour on 2 cores.
quality: install
	$(BIN)/python benchmarks/quality.py --folder $(QUALITY)

clean:
	rm -rf $(VENV) $(QUICKSTART) $(QUALITY) build *.egg-info
