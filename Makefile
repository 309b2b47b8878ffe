# Two commands do everything: `make bench` measures this machine, `make test` runs every test
# that this machine can run. Both make .venv first.

PYTHON  ?= python3
BIN     := .venv/bin
READY   := .venv/.ready
FIGURES ?=
OUT     ?=
ARCHIVE ?=
BUDGET  ?= 3600
HOSTS   ?= 2
RATE    ?=
FLEETS  ?=
SHORT   := and not slow
DRAWN   :=
comma   := ,

.PHONY: help bench test test-full lint perf hosts hosts-down device codegen certify-table gate-table \
        gate project-table docs clean

help:
	@echo "make bench      set up, run the suite 'quick' here, print the scorecard"
	@echo "make test       set up, run every test that this machine can run"
	@echo "make test-full  the same with long repetitions"
	@echo "make lint       ruff, mypy, import floors, vendor names"
	@echo "make perf       measure the harness itself [FIGURES=help,kernels,...] [OUT=table.md]"
	@echo "make hosts      as root: a Ray cluster of hosts on this machine, to play with [HOSTS=2] [RATE=400Mbit]"
	@echo "make hosts-down end it from another terminal"
	@echo "make device     on an accelerator: all that waits for one, within a budget; again: go on [BUDGET=seconds] [OUT=folder] [ONLY=kernels,...] [ARCHIVE=file]"
	@echo "make codegen    compile every kernel for every chip, without one [ONLY=gemm,...] [ARCH=sm_90,...]"
	@echo "make certify-table  certify thousands of simulated fleets, write how often it is right [FLEETS=2000] [ONLY=faults,...]"
	@echo "make gate       do this tree's kernels take more, is it slower than an earlier one? [REV=HEAD~1] [ONLY=counts,overheads,default]"
	@echo "make gate-table  judge thousands of simulated gates, write how often they are right [GATES=2000]"
	@echo "make project-table  hold projections against published runs, write the table"
	@echo "make docs       write the reference from the code, and what documents show their commands print [FILE=docs/ci.md] [QUICK=1]"
	@echo "make clean      remove what make made"

$(READY): pyproject.toml constraints.txt .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv

bench: $(READY)
	@$(BIN)/hengsuan run quick

# What is marked `alone` needs a quiet machine: it runs after all else, one test after the other
# (CONTRIBUTING.md), and only the files that say so are read for it.
test test-full: $(READY)
	@found=0; \
	$(BIN)/python -m pytest $(DRAWN) -n logical --dist worksteal -m "not alone $(SHORT)" || found=1; \
	$(BIN)/python -m pytest $(DRAWN) -m "alone $(SHORT)" $$(grep -rl --include='test_*.py' 'mark\.alone' tests) \
	  || found=1; \
	exit $$found

test-full: SHORT :=
test-full: DRAWN := --hypothesis-profile=anew

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/test_project.py

# One measurement at a time; figures are printed beside their bounds, nothing is asserted.
perf: $(READY)
	@$(BIN)/python -m pytest tests/perf --figures="$(FIGURES)" --figures-out="$(OUT)" -q --timeout=0 -m ""

# Network namespaces; nothing of them is left when this ends.
hosts: $(READY)
	@$(BIN)/python tests/hosts/up.py --hosts $(HOSTS) $(if $(RATE),--rate "$(RATE)")

hosts-down:
	@$(BIN)/python tests/hosts/up.py --down

# Stages share the budget; the same command goes on. Without an accelerator it ends with 3, and
# nothing else is measured in its place.
device: $(READY)
	@$(BIN)/python tests/device/all.py --budget $(BUDGET) $(if $(OUT),--out "$(OUT)") $(if $(ONLY),--only "$(ONLY)") \
	  $(if $(ARCHIVE),--archive "$(ARCHIVE)")

# Skips what did not change since results/reference/codegen.json was written.
codegen: $(READY)
	@$(BIN)/python .ci/codegen.py $(if $(ONLY),--only "$(ONLY)") $(if $(ARCH),--arch "$(ARCH)")

# Hours; ONLY= some cases, FLEETS= fewer of them.
certify-table: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python .ci/certify.py $(if $(FLEETS),--fleets $(FLEETS)) --only "$(ONLY)"

# This tree against an earlier one: what its kernels take (counted, no accelerator needed), what its
# engine costs, and how fast the devices here are with either. All are judged; the worst code counts.
PAIR = $(BIN)/hengsuan gate pair --baseline git:$(or $(REV),HEAD~1) --executor local
gate: $(READY)
	@found=""; for one in $(or $(subst $(comma), ,$(ONLY)),counts overheads default); do \
	  case $$one in overheads) what="--pytest tests/overheads" ;; *) what="" ;; esac; \
	  $(PAIR) --gate $$one $$what --out results/gate/$$one; found="$$found $$? "; \
	done; \
	for code in 130 2 4 1 3; do case "$$found" in *" $$code "*) exit $$code ;; esac; done

gate-table: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python .ci/gate.py $(if $(GATES),--gates $(GATES))

project-table: $(READY)
	@$(BIN)/python .ci/projection.py

# Runs every command that a document shows; minutes, for some measure this machine.
docs: $(READY)
	@$(BIN)/python .ci/documents.py $(FILE) $(if $(QUICK),--quick)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
