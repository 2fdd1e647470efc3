# One virtual environment, made on first use; versions come from constraints.txt. What is never imported is not
# compiled: that is over a quarter of an installation.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TL3 := .venv-tl3
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
SITE := import sysconfig; print(sysconfig.get_path('purelib'))

# What a machine with PyTorch and transformers may lack: see benchmarks/README.md. GPU_PYTHON=python3 uses what is there.
GPU_PYTHON ?=
GPU_NEEDS := jaxtyping wadler-lindig pandas python-dateutil six platformdirs pydantic pydantic-core annotated-types \
	typing-inspection rich markdown-it-py mdurl pygments xxhash

.PHONY: demo test coverage test-tl3 check lint types bench gpu gpu-wheels notebooks docs clean
.DELETE_ON_ERROR:

demo: $(READY)  ## the main job: from nothing to a persona map, in demo/; QUICK=1 asks less, in demo-quick/
	$(BIN)/persona-lens demo $(if $(QUICK),--quick)

test: $(READY)  ## all tests, a file to a process
	$(BIN)/python -m pytest $(IN_PARALLEL)

coverage: $(READY)  ## the same, and which lines no test reaches; a fifth slower
	$(BIN)/python -m pytest $(IN_PARALLEL) --cov --cov-report=term

test-tl3: $(TL3)/.ready  ## the same model through a HookedTransformer, which TransformerLens 4 no longer has
	$(TL3)/bin/python -m pytest tests/tl3

check:  ## what CI runs
	.ci/run

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

bench: $(READY)  ## measure speed and memory; see benchmarks/README.md
	for script in read_residuals generate_replies interventions fit_space layer_sweep separability atlas flat_memory busy_machine \
		trace_conversations simulate watching serving evaluations lm_eval_overhead; do \
		$(BIN)/python benchmarks/$$script.py || exit 1; done

gpu: $(if $(GPU_PYTHON),,$(READY))  ## measure on a GPU, with no network; tables in build/gpu
	PYTHONPATH=$(CURDIR) $(or $(GPU_PYTHON),$(BIN)/python) benchmarks/gpu/run_all.py --out build/gpu

gpu-wheels: $(READY)  ## what to carry to a machine that has PyTorch and transformers, in build/gpu-wheels
	$(BIN)/python -m pip download --quiet --no-deps --constraint constraints.txt --dest build/gpu-wheels $(GPU_NEEDS)

notebooks: $(READY)  ## run the notebooks and keep their outputs
	$(BIN)/python notebooks/run.py

docs: $(READY)  ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	touch $@

# The packages of $(BIN), but for TransformerLens: what lies here itself is found first.
$(TL3)/.ready: $(READY)
	$(PYTHON) -m venv $(TL3)
	$(TL3)/bin/python -m pip install --quiet --no-deps transformer-lens==3.5.1 better-abc==0.0.3
	$(BIN)/python -c "$(SITE)" > `$(TL3)/bin/python -c "$(SITE)"`/shared.pth
	touch $@

clean:  ## remove the environment and what was built; models stay in the cache
	rm -rf .venv $(TL3) site .pytest_cache .ruff_cache .coverage
