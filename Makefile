# One virtual environment for everything; it is made again when the requirements change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: venv quickstart check test docs bench bench-speed bench-gpu bench-results engines docs-config

venv: $(STAMP)

# Processes that the tests start import torch and its like: seconds each, and twice as many where nothing compiled stays.
unexport PYTHONDONTWRITEBYTECODE

# torch first and alone, so that a wheel built for this machine (a CPU build, a local folder of wheels) is the one
# that the rest is resolved against. Modules are compiled where they are first imported: most never are.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile -c constraints.txt torch==2.13.0
	$(BIN)/pip install --no-compile -c constraints.txt -e '.[dev]'
	touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/clsgen quickstart

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

# Two workers with a thread each: threads that spin on a busy machine cost both.
test bench-results: export OMP_NUM_THREADS ?= 1

# The fast tier, then the slow one (a file in one worker, for its costly fixtures), then what measures time, alone;
# pytest exits 5 when no test has the mark.
test: $(STAMP)
	$(BIN)/pytest -n 2
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not timed" || test $$? -eq 5
	$(BIN)/pytest -m timed || test $$? -eq 5

# Outside CI: hours on two cores. What it measures is committed as docs/benchmarks and docs/results.
bench: bench-speed bench-results

# On every core, with nothing else running. The peers have an environment of their own.
bench-speed: $(STAMP) benchmarks/.venv/.installed
	$(BIN)/python benchmarks/run.py --documents 2000
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/ray_overhead.py
	$(BIN)/python scripts/measure_processes.py
	$(BIN)/python benchmarks/predict_scale.py

# On a machine with a CUDA GPU of 80 GB: what needs one is tested, and an 8B-shaped model measured.
bench-gpu: $(STAMP)
	$(BIN)/pip install -c constraints.txt -e '.[quant]'
	$(BIN)/pytest -m gpu
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/predict_gpu.py

benchmarks/.venv/.installed: benchmarks/peers.txt constraints.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install -q -c constraints.txt -r benchmarks/peers.txt
	touch benchmarks/.venv/.installed

# RUN: a trained run; what is committed is of CliniFact's, seed 0, by measure_results.py.
engines: RUN ?= runs/results/clinifact-binary/published/lora/seed0
engines: $(STAMP) benchmarks/engines/.build/build/bin/llama-server
	$(BIN)/pip install -q -c constraints.txt -r benchmarks/engines/requirements.txt
	$(BIN)/python benchmarks/engines/parity.py $(RUN)

benchmarks/engines/.build/build/bin/llama-server: benchmarks/engines/build.sh
	benchmarks/engines/build.sh benchmarks/engines/.build 0.3.36

bench-results: $(STAMP)
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-binary --folds 5
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-binary
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact --set data.variant=null
	$(BIN)/python scripts/measure_results.py run examples/clinifact.yaml --name clinifact-decided --set data.variant=decided
	$(BIN)/python scripts/measure_results.py run examples/evidence_inference.yaml --name evidence_inference
	$(BIN)/python scripts/measure_results.py run examples/esnli.yaml --name esnli
	$(BIN)/python scripts/measure_results.py run examples/pubmedqa.yaml --name pubmedqa
	$(BIN)/python scripts/measure_results.py run examples/synthetic.yaml --name synthetic-notes
	$(BIN)/python scripts/measure_curve.py examples/clinifact.yaml --name clinifact-binary
	$(BIN)/python scripts/measure_comparison.py examples/clinifact.yaml --name clinifact-binary
	$(BIN)/python scripts/measure_comparison.py examples/evidence_inference.yaml --name evidence_inference
	$(BIN)/python scripts/measure_comparison.py examples/synthetic.yaml --name synthetic-notes
	$(BIN)/python scripts/noise_study.py
	$(BIN)/python scripts/measure_results.py page
	$(BIN)/python scripts/measure_evaluation.py
	$(BIN)/python scripts/measure_shards.py

# The site, its notebooks run: docs/_build/html/index.html. A warning is an error.
docs: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

docs-config: $(STAMP)
	$(BIN)/python scripts/build_docs.py
