# verdict: `make demo` to see it, `make test` to prove it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENGINE ?= flink
SECONDS ?= 60
MINUTES ?= 60

# Bytecode is worth half of the start: write it, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick cover long mutants bench chaos lint docs setup clean
.DEFAULT_GOAL := help

help:  ## show this
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/run.stamp $(if $(filter flink,$(ENGINE)),$(VENV)/flink.stamp)  ## card payments decided live: SECONDS=60 RATE=500 ENGINE=flink|embedded
	@$(BIN)/python examples/card-fraud/demo.py --engine=$(ENGINE) --seconds=$(SECONDS) --rate=$(or $(RATE),500)

# Each file of tests goes to one of two workers, so that what it starts is started once; the files
# that take longest come first (tests/conftest.py), so that both end together.
TESTS := pytest -n 2 --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m $(TESTS)
QUICK := -m "not long and not server"

test: lint $(VENV)/flink.stamp  ## lint, types, layers, and the tests: some minutes on 2 cores
	@$(PYTEST) -m "not long" --durations=10

quick: lint  ## lint, types, layers, and the tests that need no server: a minute or two
	@$(PYTEST) $(QUICK)

# Coverage starts pytest, not the other way round: pytest loads verdict's plugin, and much of verdict by
# it, before a plugin that measures.
cover: $(VENV)/dev.stamp  ## the tests of `make quick`, and which lines and branches they leave out
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m $(TESTS) $(QUICK); code=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$code

long: $(VENV)/flink.stamp cover  ## `make cover`, and the tests that take a Flink cluster of their own, or long; then mutants
	@$(BIN)/python -m pytest -m long
	@$(MAKE) --no-print-directory mutants

mutants: SECONDS = 600
mutants: $(VENV)/dev.stamp  ## break windows and policy in small ways, and name what no test notices: SECONDS=600
	@$(BIN)/python tests/mutants.py --seconds=$(SECONDS)

bench: $(VENV)/flink.stamp  ## how fast, beside peers, some 40 minutes: EVENTS=600000
	@$(BIN)/python load-tests/bench.py $(if $(EVENTS),--events=$(EVENTS))

chaos: $(VENV)/flink.stamp  ## kill -9 for an hour: MINUTES=60 RATE=2000 ENGINE=flink|embedded; one at a time: SETTLED=1
	@$(BIN)/python load-tests/chaos/main.py --engine=$(ENGINE) --minutes=$(MINUTES) --rate=$(or $(RATE),2000) $(if $(SETTLED),--settled) --spare=$(or $(SPARE),0) --record=load-tests/RESULTS.md

lint: $(VENV)/dev.stamp  ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@MYPYPATH=load-tests:load-tests/bench:load-tests/chaos $(BIN)/mypy load-tests
	@MYPYPATH=examples/card-fraud $(BIN)/mypy examples
	@$(BIN)/lint-imports

docs: $(VENV)/dev.stamp  ## make docs/spec.md and docs/modules.md anew from the docstrings
	@$(BIN)/python -m verdict.pipelines.cli.reference docs
	@$(BIN)/python tests/house.py --modules

setup: $(VENV)/dev.stamp  ## the virtual environment alone

clean:  ## remove the virtual environment and the demo's files
	rm -rf $(VENV) .verdict

# Python's own venv and pip, pinned by constraints.txt; nothing else is asked of the machine.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"verdict wants Python 3.11 or 3.12, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing verdict and what it needs (a minute or two, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e .
	@touch $@

# Halves every later start of Flink, and fetches the jars on the way.
$(VENV)/flink.stamp: $(VENV)/run.stamp deploy/jars.txt
	@echo "preparing Flink (about a minute, once)"
	@$(BIN)/python -m verdict.pipelines.engines.flink.prepare
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing the test tools"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
