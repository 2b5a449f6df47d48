# make demo: the whole job on the embedded people. make test: the fast tests. Everything happens in .venv.

PYTHON ?= python3
BIN := .venv/bin
DIST ?= dist
FLOORS := tasks pretrain finetune configs
DEMO := runs/demo
# What accelerate would otherwise warn about not being told.
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no
BENCHMARKS := step_speed step_memory published_steps loader_speed evaluation_memory task_cost clustering_scale thread_wait
BENCHMARKS += search_speed

.PHONY: install demo test test-slow check bench build links

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[app,dev,search,track]'
	touch $@

# glibc gives the tensors of a step back to the system and asks for them again in the next; here it keeps them.
demo: export MALLOC_MMAP_THRESHOLD_ := 2000000000
demo: export MALLOC_TRIM_THRESHOLD_ := 8000000000
demo: export MALLOC_TOP_PAD_ := 500000000
demo: install
	rm -rf $(DEMO)
	$(LAUNCH) pretrain/run.py run.dir=$(DEMO)/pretrain
	$(LAUNCH) finetune/run.py model.source=$(DEMO)/pretrain run.dir=$(DEMO)/finetune
	$(BIN)/python benchmarks/demo.py $(DEMO)

test: install
	$(BIN)/pytest -m "not slow"

test-slow: install
	$(BIN)/pytest -m slow

check: install links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .links && MYPYPATH=benchmarks ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache --explicit-package-bases .

# The installed package maps top-level folders to huecry.tasks and so on. mypy and editors know nothing of that mapping;
# here they find the same tree as plain folders. An editor's root for imports is .links.
links:
	rm -rf .links
	mkdir -p .links/huecry
	ln -s ../benchmarks .links/
	ln -s $(addprefix ../../,$(filter-out %__pycache__,$(wildcard huecry/*)) $(FLOORS)) .links/huecry/

# Each writes its file in benchmarks/results; benchmarks/demo.py and benchmarks/cuhk01.py need runs and data first.
bench: install
	$(foreach name,$(BENCHMARKS),$(BIN)/python benchmarks/$(name).py &&) true

build: install
	$(BIN)/python -m build --wheel --outdir $(DIST)
