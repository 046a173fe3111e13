# `make train` and `make test` are all a newcomer needs; both set up what they need first.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(wildcard packages/*/pyproject.toml)
CONFIG ?= configs/fvq/fvq_photos.py
CODES := work_dirs/codes_photos
GENERATOR := work_dirs/llamagen_photos
DOCS ?= rehearse

.PHONY: help setup extras lock train test test-fast test-extras sample demo smoke check format docs docs-serve bench gpu-check wheels test-wheels clean

help: ## list all targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## create .venv with pinned torch and the packages; does nothing if up to date

$(VENV)/.ready: constraints.txt requirements-dev.txt $(PACKAGES) tools/setup.sh
	@PYTHON="$(PYTHON)" bash tools/setup.sh $(VENV)
	@touch $@

extras: setup ## also install what the demo, exports, trackers, remote data and their tests need
	@EXTRAS=all PYTHON="$(PYTHON)" bash tools/setup.sh $(VENV)

lock: setup ## update constraints.txt to the newest compatible versions, for Python 3.11 and 3.12
	@printf -- '-e %s\n' 'packages/fvq-core[train,photos]' 'packages/fvq-quantizers[flax]' 'packages/fvq-generators[captions]' packages/fvq-eval 'packages/fvq[all]' | \
		UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--fork-strategy fewest --no-annotate $(patsubst packages/%/pyproject.toml,--no-emit-package %,$(PACKAGES)) \
		requirements-dev.txt requirements-extras.txt - --output-file constraints.txt

train: setup ## train FVQ on ten bundled photographs, a few minutes on 2 cores; CONFIG=... for another config
	$(BIN)/python tools/train.py $(CONFIG)

test: setup ## run the whole test suite, one process per core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope

test-fast: setup ## run only the tests that start no other processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fast --numprocesses auto --dist loadscope

# DOCS=rehearse runs each tutorial and notebook with the small settings stated on its page, DOCS=full as written.
test-extras: extras ## run the tests that need `make extras`, and the tutorials and notebooks; DOCS=full for full size
	OMP_NUM_THREADS=1 FVQ_DOCS=$(DOCS) $(BIN)/python -m pytest tests/app tests/docs

# The last step scores with a random network, which needs no download; its numbers are not FID. Drop --extractor for FID.
sample: setup ## train a tokenizer and a generator on the bundled photos, sample and score; six minutes on 2 cores
	@rm -rf $(CODES)/codes $(GENERATOR)/samples
	$(BIN)/python tools/train.py configs/generation/codes_photos.py
	$(BIN)/python tools/extract_codes.py $(CODES)/tokenizer bundled $(CODES)/codes --size 64 --crops random 200 --flip
	$(BIN)/python tools/train.py configs/generation/llamagen_photos.py
	$(BIN)/python tools/sample.py $(GENERATOR)/generator $(CODES)/tokenizer --num 200 --npz --out $(GENERATOR)/samples
	$(BIN)/python tools/evaluate.py $(GENERATOR)/samples/samples.npz --reference bundled --crop 64 --extractor RandomFeatures

sample-all: setup ## do so for every generator, with one picture of all; a few minutes each; ARGS=var_photos for one
	$(BIN)/python benchmarks/sample_all.py $(ARGS)

# Gradio is not part of `make setup`; the first call installs it at the locked version.
demo: setup ## explore the tokenizers in work_dirs in a browser; ARGS=TOKENIZER... for others
	@$(BIN)/python -c 'import gradio' 2>/dev/null || EXTRAS=demo PYTHON="$(PYTHON)" bash tools/setup.sh $(VENV)
	$(BIN)/python tools/demo.py $(ARGS)

smoke: setup ## check that every config trains, tests, resumes and folds, at a tiny size; prints a table
	$(BIN)/python tools/smoke.py

check: setup ## check lint, format, types, import contracts and links in the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/python docs/check_links.py

format: setup ## fix lint and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## build the documentation into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: setup ## serve the documentation at http://127.0.0.1:8000, with live reload
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: setup ## measure speed and memory of the quantizer against a textbook implementation
	$(BIN)/python benchmarks/quantizer.py

gpu-check: setup ## run the checks that need a GPU (docs/gpu.md); ARGS=--list shows them
	$(BIN)/python benchmarks/gpu_check $(ARGS)

# uv builds each wheel from its sdist; the version comes from the git tag (docs/releasing.md).
wheels: setup ## build and check wheels and sdists of all packages in dist/
	@rm -rf dist
	$(BIN)/uv build --quiet --all-packages --out-dir dist
	$(BIN)/uv tool run --constraints constraints.txt twine check --strict dist/*.whl dist/*.tar.gz

test-wheels: wheels ## install only the wheels into fresh Python 3.11 and 3.12 environments, and train there
	bash tools/test_wheels.sh dist "$$(realpath $(BIN)/uv)" $(PYTHONS)

clean: ## remove .venv and caches; keeps work_dirs
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
