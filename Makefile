# `make` lists the targets. Everything is installed into .venv, once, and again only when the requirements change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QA_FEEDBACK ?= ../shared/data/qa_feedback/feedback.json
COUNT ?= 100000
JFLEG ?= ../shared/data/jfleg
MODEL ?= models/SmolLM2-135M-Instruct
PIP := $(BIN)/python -m pip install --quiet
# HASHES=1 installs only files whose hashes stand in requirements.lock, as continuous integration does. Without it pip takes
# the same versions from wherever it is set up to look, such as a torch for the CPU alone.
# The file lists all that is needed, so pip looks for nothing else (`--no-deps`), and is asked then if that is so.
install = $(if $(HASHES),$(PIP) --no-deps --require-hashes -r requirements.lock && \
	$(PIP) --no-deps --no-build-isolation -e . && $(BIN)/python -m pip check,\
	$(PIP) -c constraints.txt torch==2.13.0 -e '.$(1)')
REQUIREMENTS := pyproject.toml constraints.txt src/redpencil/__init__.py
UV := .tools/bin/uv
PIP_AUDIT := .tools/bin/pip-audit --disable-pip --require-hashes --progress-spinner off -r requirements.lock
SBOM := .tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible
LOCK := $(UV) pip compile pyproject.toml --quiet --universal --no-header --no-annotate --generate-hashes -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart study literal summaries variants methods rounds results-page spans qa-feedback jfleg-reward jfleg numerics bench-align bench-reward bench-editing bench-annotate screenshots test integrations faults check sbom audit locks clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

quickstart: $(VENV)/.installed ## install, run the whole paper on the small world in minutes, say where the report is
	$(BIN)/redpencil quickstart
	@echo "The report: $(CURDIR)/runs/quickstart/report.html"

study: $(VENV)/.installed ## run recipes/study.yaml (five seeds) and write docs/results-study.md
	$(BIN)/redpencil run recipes/study.yaml
	$(BIN)/redpencil report runs/study --markdown docs/results-study.md

literal: $(VENV)/.installed ## the same seeds with the paper's Eq. 4 as printed, into docs/results-literal.md
	$(BIN)/redpencil run recipes/literal.yaml
	$(BIN)/redpencil report runs/literal --markdown docs/results-literal.md

summaries: $(VENV)/.installed ## the second domain, summaries of passages, on three seeds, into docs/results-summaries.md
	$(BIN)/redpencil run recipes/summaries.yaml
	$(BIN)/redpencil report runs/summaries --markdown docs/results-summaries.md

variants: $(VENV)/.installed ## what was tried, on two tuning seeds, into docs/results-variants.md
	$(BIN)/redpencil run recipes/variants.yaml
	$(BIN)/redpencil report runs/variants --markdown docs/results-variants.md

ablations: $(VENV)/.installed ## one choice changed at a time (half an hour or more), into docs/results-ablations.md
	$(BIN)/redpencil ablate recipes/ablations.yaml --markdown docs/results-ablations.md

methods: $(VENV)/.installed ## (two hours) every way from the same edits to a policy, on five seeds, into docs/results-methods.md
	$(BIN)/redpencil run recipes/methods.yaml
	$(BIN)/redpencil report runs/methods --markdown docs/results-methods.md

rounds: $(VENV)/.installed ## (half an hour) one round of edits against two and four of as many in all, into docs/results-rounds.md
	$(BIN)/redpencil ablate recipes/rounds.yaml --markdown docs/results-rounds.md

results-page: $(VENV)/.installed ## the table of docs/results.md again, from the runs that `make methods summaries jfleg` left
	$(BIN)/python scripts/results_page.py

spans: qa-feedback-file $(VENV)/.installed ## import human-edited items, audit them, compare the diff with the error spans people marked
	$(BIN)/redpencil import $(QA_FEEDBACK) --format qa-feedback --as edits --out runs/qa-feedback/edits.jsonl
	$(BIN)/redpencil audit runs/qa-feedback/edits.jsonl --html runs/qa-feedback/audit.html

.PHONY: qa-feedback-file
qa-feedback-file:
	@test -f "$(QA_FEEDBACK)" || { \
	echo "$(QA_FEEDBACK) is missing; give the file: make spans QA_FEEDBACK=/path/feedback.json"; \
	echo "It is tasks/qa_feedback/data/dev_feedback.json of https://github.com/allenai/FineGrainedRLHF"; exit 1; }

qa-feedback: qa-feedback-file $(VENV)/.installed ## reward models on 239 human edits by cross-validation (MODEL=folder), into docs/results-qa-feedback.md
	$(BIN)/redpencil import $(QA_FEEDBACK) --format qa-feedback --prompt-template '{passages}\n\n{question}' \
	--out runs/qa-feedback-data/edits.jsonl
	$(BIN)/redpencil run recipes/qa-feedback.yaml --set files.model=$(abspath $(MODEL))
	$(BIN)/redpencil report runs/qa-feedback --markdown docs/results-qa-feedback.md

jfleg-reward: $(VENV)/.installed ## reward models on learners' sentences that four people corrected (MODEL=folder JFLEG=folder)
	@mkdir -p runs/jfleg-data
	for split in dev test; do \
	{ printf 'prompt\toriginal\tedited\n'; for person in 0 1 2 3; do \
	paste $(JFLEG)/$$split.src $(JFLEG)/$$split.ref$$person | sed 's/ *\t */\t/; s/ *$$//' | \
	awk -v part=$$split '{ print "Sentence " part " " NR " in good English:\t" $$0 }'; done; } > runs/jfleg-data/$$split.tsv && \
	$(BIN)/redpencil import runs/jfleg-data/$$split.tsv --format columns --as edits --quoting none \
	--out runs/jfleg-data/$$split.jsonl || exit 1; done
	$(BIN)/redpencil run recipes/jfleg-reward.yaml --set files.model=$(abspath $(MODEL))
	$(BIN)/redpencil report runs/jfleg-reward --markdown docs/results-jfleg.md

jfleg: $(VENV)/.installed ## (an hour or two a seed) policies that correct learners' sentences (MODEL=folder JFLEG=folder)
	$(BIN)/python scripts/jfleg_data.py $(JFLEG) --out runs/jfleg-data
	$(BIN)/redpencil run recipes/jfleg.yaml --set files.model=$(abspath $(MODEL))
	$(BIN)/redpencil report runs/jfleg --markdown docs/results-jfleg-policies.md

numerics: $(VENV)/.installed ## (a quarter of an hour) one recipe and seed with three kinds of vector instructions: what rounding does
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/numerics.py

bench-align: $(VENV)/.installed-test ## align COUNT=100000 real-sized edits three times (minutes): words and token masks a second
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/alignment_speed.py --count $(COUNT)

bench-reward: $(VENV)/.installed-test ## steps of training a reward model on edits, against TRL's (a quarter of an hour)
	$(BIN)/python benchmarks/reward_step.py

bench-editing: $(VENV)/.installed-test ## (minutes) edit 20,000 responses through a faulty server, killed and resumed: what was lost or paid twice
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/llm_editing.py

bench-annotate: $(VENV)/.installed-test ## 24 editors, 2,000 items, two servers that are killed, on SQLite and PostgreSQL (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/annotation_load.py

screenshots: $(VENV)/.installed-test ## draw the pictures of docs/collecting.md anew, from a demo project in chromium
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/annotation_pages.py

test: $(VENV)/.installed-test ## run the tests in two processes, the slow ones too
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(PARTS) test-rest

coverage: $(VENV)/.installed-test ## the same, and print the coverage of src, which makes Python slower by a fifth to two thirds
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory test COVER='--cov=redpencil --cov-report='; status=$$?; \
	$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report || status=1; exit $$status

# Parts of the tests, the longest first. A process that has ended one takes up the next; each is printed when it has ended.
TESTS_faults := tests/faults tests/models
TESTS_runs := tests/cli tests/pipeline
TESTS_training := tests/training tests/integrations
TESTS_web := tests/web tests/report tests/providers
PARTS := test-faults test-runs test-training test-web
PYTEST = OMP_NUM_THREADS=1 COVERAGE_FILE=.coverage.$@ $(BIN)/python -m pytest $(COVER)
.PHONY: coverage $(PARTS) test-rest
$(PARTS): test-%: $(VENV)/.installed-test
	$(PYTEST) $(TESTS_$*)

test-rest: $(VENV)/.installed-test
	$(PYTEST) tests $(patsubst %,--ignore=%,$(TESTS_faults) $(TESTS_runs) $(TESTS_training) $(TESTS_web))

integrations: $(VENV)/.installed-test ## (minutes) token rewards in verl and SkyRL themselves, each in an environment of its own
	PYTHON=$(PYTHON) scripts/integrations.sh

faults: $(VENV)/.installed-test ## damage finished runs in many places, diverge, kill, fill the disk: nothing goes on as if it were well
	OMP_NUM_THREADS=1 FAULT_ROUNDS=20 $(BIN)/python -m pytest -m '' tests/faults \
	    tests/web/test_database.py::test_it_waits_while_postgresql_recovers_and_says_so
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long tests --ignore=tests/faults

check: $(VENV)/.installed-dev ## formatting, lint, strict types, floors
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

sbom: .tools/bin/pip-audit ## list all that is installed in continuous integration and the image, as CycloneDX, in build/sbom*.json
	@mkdir -p build
	$(SBOM) requirements.lock --output-file build/sbom.json
	$(SBOM) requirements-image.lock --output-file build/sbom-image.json

# Where the known holes of each version are.
HOLES := https://pypi.org/pypi/pip/25.0/json

audit: ## look for known holes in what continuous integration and the image install; without a network it says that it did not
	@if $(PYTHON) -c 'from urllib.request import urlopen; urlopen("$(HOLES)", timeout=20)' 2> /dev/null; \
	then $(MAKE) --no-print-directory audit-now; \
	else echo "audit: skipped, nothing was looked up: $(HOLES) cannot be read"; fi

.PHONY: audit-now
audit-now: .tools/bin/pip-audit
	$(PIP_AUDIT) --strict
	$(PIP_AUDIT:requirements.lock=requirements-image.lock) --strict

locks: $(UV) ## write requirements*.lock anew from pyproject.toml and constraints.txt (needs a network)
	$(LOCK) --extra dev --python-version 3.11 -o requirements.lock
	printf '%s ; python_version < "3"\n' torch transformers safetensors > .tools/without.txt
	$(LOCK) --extra web --group build --python-version 3.12 --overrides .tools/without.txt -o requirements-image.lock
	printf '%s\n' 'pip-audit>=2.10,<3' 'cyclonedx-bom>=7,<8' | $(LOCK:pyproject.toml=-) --python-version 3.11 -o requirements-audit.lock

.tools/bin/python:
	$(PYTHON) -m venv .tools

$(UV): | .tools/bin/python
	.tools/bin/python -m pip install --quiet uv

.tools/bin/pip-audit: requirements-audit.lock | .tools/bin/python
	.tools/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements-audit.lock
	@touch $@

clean: ## delete .venv, caches and built files; runs/ stays
	rm -rf $(VENV) .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	$(call install,)
	@touch $@

$(VENV)/.installed-test: $(REQUIREMENTS) | $(BIN)/python
	$(call install,[test])
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(REQUIREMENTS) | $(BIN)/python
	$(call install,[dev])
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed
