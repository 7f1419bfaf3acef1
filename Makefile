# Every target makes what it needs: from a fresh clone `make book` or `make test` is enough.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV   := .venv
COLAB  := .venv-colab
PYTHON := $(VENV)/bin/python
PORT   ?= 8000

# uv installs in half a minute what takes pip two; it is told where pip's settings look, and where it fails, pip goes on
UV := UV_INDEX_STRATEGY=unsafe-best-match UV_EXTRA_INDEX_URL="$$PIP_EXTRA_INDEX_URL" $(VENV)/bin/uv
install = $(UV) pip install -q --python $(PYTHON) $(1) || $(PYTHON) -m pip install -q $(1)

# The interpreter that makes .venv: the first of these that is 3.11 to 3.13, or say `make book PYTHON3=/path/to/python`
PYTHON3 ?= python3.13 python3.12 python3.11 python3 python
USABLE  := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

ENV  := $(VENV)/.ready
EXERCISES := $(VENV)/.exercises
NODE := node_modules/.package-lock.json
SITE_TESTS := site accessibility links extensions offline_kit
# as notebooks: side by side, a thread each; a file stays in one process, since its tests share fixtures
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests --numprocesses=auto --maxprocesses=4 --dist=loadfile
JB   := $(VENV)/bin/jupyter-book build _build/source --path-output . --all -W -n --keep-going -q

.PHONY: help env book pages serve test lint unit bench colab exercises slides numbers measure mutants graphs ideas offline-kit links format clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

env: $(ENV)  ## Make .venv with the package and everything that builds and tests the book

book: $(ENV) $(NODE)  ## Execute the notebooks that changed and build the site (warnings are errors)
	$(PYTHON) tools/notebooks.py run
	$(JB)
	@echo "The book: $(CURDIR)/_build/html/index.html    To read it in a browser: make serve"

pages: $(ENV) $(NODE)  ## Build the site from the outputs of the last runs, executing nothing (for work on the text)
	$(PYTHON) tools/notebooks.py assemble
	$(JB)
	@echo "The book, with the outputs of earlier runs: $(CURDIR)/_build/html/index.html"

serve: $(ENV)  ## Serve the built site on http://127.0.0.1:8000 (PORT=…)
	@test -f _build/html/index.html || { echo "There is no site yet: run 'make book' first." >&2; exit 1; }
	@echo "The book is at http://127.0.0.1:$(PORT)/   Ctrl-C stops."
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: lint $(NODE) $(EXERCISES)  ## Run everything: style, notebooks, the site's build, unit tests, the site in a real browser
	$(PYTHON) tools/browser.py
	$(MAKE) --no-print-directory book
	$(PYTEST)

unit: $(NODE) $(EXERCISES)  ## Only the tests that need neither an executed notebook nor a built site
	$(PYTEST) $(addprefix --ignore=tests/test_,$(addsuffix .py,$(SITE_TESTS)))

lint: $(ENV)  ## Style of the package, the tests and the notebooks
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(ENV)  ## Put code and notebooks into the book's form (no outputs, stable cell ids, one bootstrap cell)
	$(PYTHON) tools/notebooks.py clean
	$(PYTHON) -m ruff check --fix --exit-zero -q .
	$(PYTHON) -m ruff format .

bench: $(VENV)/.bench  ## Time views, steps and a SimCLR epoch against kornia, torchvision and lightly (five minutes on two cores)
	$(PYTHON) benchmarks/bench.py

offline-kit: book $(EXERCISES)  ## Put site, notebooks, exercises, package and images into one zip, for a room without a network
	$(PYTHON) -m tools.offline_kit

links: $(ENV) $(NODE)  ## Ask every other site that the book links to whether the page is still there
	$(PYTHON) tools/notebooks.py assemble
	$(VENV)/bin/jupyter-book build _build/source --path-output . --builder linkcheck -q

exercises: $(EXERCISES)  ## Write the students' exercise notebooks and the teacher's course folder to _build/exercises
	$(PYTHON) -m tools.exercises write

slides: $(ENV) $(NODE)  ## Make a deck of slides from every chapter, or CHAPTER=simclr only, in _build/slides
	$(PYTHON) -m tools.slides $(or $(CHAPTER),--all) $(addprefix --site=,$(SITE))

numbers: $(ENV)  ## Write the numbers that the text quotes from results/ anew
	$(PYTHON) -m tools.quotes

graphs: $(ENV)  ## Trace the training steps that the playground runs anew (after a change of its methods)
	$(PYTHON) -m tools.graphs

ideas: $(ENV)  ## Draw the pictures that open the chapters anew
	$(PYTHON) -m tools.ideas

measure: $(ENV)  ## Measure the house: files that name a method, longest functions, lesson share of chapters, duplicates
	$(PYTHON) tools/measure.py

mutants: $(ENV)  ## Put some 340 mistakes into the package, one at a time: does a test notice? (weekly in CI)
	$(PYTHON) tests/mutants.py

colab: $(COLAB)/.ready  ## Install the package beside the versions that Colab ships and run the notebooks (smoke budget)
	tools/colab.sh $(COLAB)/bin/python

clean:  ## Remove what was built and executed; .venv and node_modules stay
	rm -rf _build .executed

$(ENV): requirements.txt pyproject.toml
	@test -x $(PYTHON) || { for p in $(PYTHON3); do \
	  if $$p -c '$(USABLE)' 2>/dev/null; then echo "Making $(VENV) with $$p"; exec $$p -m venv $(VENV); fi; done; \
	  echo "No Python 3.11, 3.12 or 3.13 with venv and pip found (looked for: $(PYTHON3))." >&2; \
	  echo "Install one (Debian, Ubuntu: apt-get install python3-venv) or name it: make book PYTHON3=/path/to/python" >&2; \
	  exit 1; }
	$(PYTHON) -m pip install -q --upgrade pip uv
	$(call install,-r requirements.txt -e .)
	@touch $@

$(COLAB)/.ready: tests/colab-requirements.txt | $(ENV)
	$(PYTHON) -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install -q -r $<
	@touch $@

$(EXERCISES): $(ENV) exercises/requirements.txt
	$(call install,-r requirements.txt -r exercises/requirements.txt)
	@touch $@

$(VENV)/.bench: $(ENV) benchmarks/requirements.txt
	$(call install,-r requirements.txt -r benchmarks/requirements.txt)
	@touch $@

$(NODE): package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 18 or newer (https://nodejs.org)." >&2; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@
