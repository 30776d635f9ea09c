# Every target sets itself up from nothing; `make demo` and `make test` are the two to know.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH ?= torch==2.13.0
# A file's tests stay together, since many share what they build.
WORKERS ?= -n 2 --dist loadfile
export OMP_NUM_THREADS ?= 2
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: help install demo test test-all explore lint format bench docs clean
help:            ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## create .venv and install hubwright with everything the tests need

# torch first and pinned: left to itself pip takes the newest build with several GB of CUDA packages.
$(STAMP): pyproject.toml setup.py constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[train,eval,hub,llm,embeddings,games,vision]" --group dev
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt minigrid  # its pygame-ce is LGPL, and only draws
	$(BIN)/hubwright schema > recipes/recipe.schema.json
	@touch $@

demo: $(STAMP)   ## end to end in a few minutes: data set, model, evaluation and card on a local hub
	$(BIN)/python -m hubwright demo

test: $(STAMP)   ## the default tests (under 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS)

test-all: $(STAMP)  ## with the slow ones
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[ray]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) -m "not gpu"

explore: $(STAMP)  ## property tests on new examples, a thousand each; for a nightly run
	HUBWRIGHT_HYPOTHESIS=explore OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) -m "hypothesis and not gpu" --timeout 1800

# Type and import checks read an installed copy: static tools do not follow setuptools' editable finder. build/lib would
# bring modules that are gone.
COPY = @rm -rf build && $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/lint .

lint: $(STAMP)   ## ruff, mypy, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(COPY)
	cd build/lint && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p hubwright
	cd build/lint && PYTHONPATH=. ../../$(BIN)/lint-imports --config ../../pyproject.toml

format: $(STAMP)  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## speed against peers, as ratios from one run
	$(BIN)/python -m benchmarks

docs: $(STAMP)   ## build the documentation into site/
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	$(COPY)
	cd build/lint && PYTHONPATH=. ../../$(BIN)/python ../../docs/generate.py
	$(BIN)/mkdocs build --strict

clean:           ## remove what the other targets made
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
