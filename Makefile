# `make report` and `make test` set up all they need in .venv; nothing else is asked of the machine.
PYTHON ?= python3
VENV ?= .venv
DATASET ?= mnist5k
TESTS ?=
MARKED ?= not exhaustive
BIN := $(VENV)/bin
export JAX_PLATFORMS ?= cpu

.PHONY: report test test-torch lint unit bench clean

report: $(VENV)/.run
	$(BIN)/trustjax report --dataset $(DATASET)

test: lint unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

unit: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist worksteal -q -m '$(MARKED)' $(TESTS)

# Networks of PyTorch, in an environment of their own: `make test` is without torch.
test-torch: .venv-torch/.torch
	.venv-torch/bin/pytest -n 2 --dist worksteal -q tests/from_torch_test.py trustjax/bridge

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trustjax needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cli,test,lint]'
	touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[cli,bench,torch]'
	$(BIN)/python -m pip install --quiet --no-deps torchvision==0.28.0
	touch $@

# torch before all else, for a torch without its version is gigabytes of CUDA; torchvision without what it asks for, which is a torch of its own.
.venv-torch/.torch: pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet torch==2.13.0
	.venv-torch/bin/python -m pip install --quiet --editable '.[data,report,torch]' 'beartype>=0.20' 'pytest>=8.3' 'pytest-xdist>=3.6'
	.venv-torch/bin/python -m pip install --quiet --no-deps torchvision==0.28.0
	touch $@

clean:
	rm -rf $(VENV) .venv-torch .pytest_cache .ruff_cache build dist
