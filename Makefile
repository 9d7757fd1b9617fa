# Everything from a fresh clone: `make setup`, `make demo`, `make test`, `make lint`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
RECIPE := recipes/WSJ0Mix/separation
DATA ?= $(abspath data)
RESULTS ?= $(abspath results)/mini
RANKS ?= 2

.PHONY: setup demo test lint bench clean

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed (PYTHON=... chooses one)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint requirements.lock \
	    --editable '.[mini,demo,onnx,test,lint]'
	$(BIN)/python -m pip install --disable-pip-version-check --constraint requirements.lock \
	    --editable '.[metrics]' || echo "PESQ needs a C compiler: its scores are left out."
	@touch $@

setup: $(VENV)/.installed

# Speak, mix, train and listen, on the CPU whatever else there is. The batch, and
# with it the score, goes with the number of processes. The tunable lets glibc ask
# for huge pages, which a training step on a CPU is a tenth faster with.
demo: $(VENV)/.installed
	cd $(RECIPE) && $(BIN)/python prepare_data.py corpus --out $(DATA)/voices
	cd $(RECIPE) && $(BIN)/python prepare_data.py mix --speech $(DATA)/voices --out $(DATA)/mini --tr 6000 --cv 48 --tt 200
	cd $(RECIPE) && CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/torchrun --standalone --nproc_per_node=$(RANKS) \
	    train.py hparams/mini.yaml --data_folder=$(DATA)/mini/2speakers --output_folder=$(RESULTS) --device=cpu \
	    --speaker_info=$(DATA)/voices/speakers.csv

# A process for each core, of one thread each (they import PyTorch, so no more than
# eight); the tests of a file stay together.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict $(RECIPE)/hparams .yamllint.yaml
	$(BIN)/codespell

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/data_cost.py

clean:
	rm -rf $(VENV) build *.egg-info
