# One virtual environment, made on first use; versions come from constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check lint types bench docs clean
.DELETE_ON_ERROR:

demo: $(READY)  ## the main job: from nothing to a persona map, in demo/
	$(BIN)/persona-lens demo

test: $(READY)  ## all tests, with coverage
	$(BIN)/python -m pytest --cov --cov-report=term

check: lint types test  ## what CI runs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

bench: $(READY)  ## measure speed and memory; see benchmarks/README.md
	for script in read_residuals generate_replies fit_space flat_memory; do \
		$(BIN)/python benchmarks/$$script.py || exit 1; done

docs: $(READY)  ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:  ## remove the environment and what was built; models stay in the cache
	rm -rf .venv site .pytest_cache .ruff_cache .coverage
