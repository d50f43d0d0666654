# One virtual environment for everything; it is made again when the requirements change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Models this small gain nothing from a second thread, and lose much on a busy machine.
export OMP_NUM_THREADS ?= 1

.PHONY: venv quickstart check test bench docs-config

venv: $(STAMP)

# torch first and alone, so that a wheel built for this machine (a CPU build, a local folder of wheels) is the one
# that the rest is resolved against.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt torch==2.13.0
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/clsgen quickstart

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

# The fast tier, then the slow one; pytest exits 5 when no test is marked slow.
test: $(STAMP)
	$(BIN)/pytest -n 2
	$(BIN)/pytest -n 2 -m slow || test $$? -eq 5

# Outside CI: some 80 minutes on two cores. What it measures is committed as docs/results.
bench: $(STAMP)
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-binary
	$(BIN)/python scripts/measure_results.py run examples/evidence_inference.yaml --name evidence_inference
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-binary --folds 5
	$(BIN)/python scripts/measure_results.py page

docs-config: $(STAMP)
	$(BIN)/python scripts/build_docs.py
