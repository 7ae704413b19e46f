# Every step of the study, from an empty checkout. `make help` lists the targets.
# Works with GNU make 3.81 or newer (macOS ships 3.81) and any POSIX sh.

STUDY  ?= controlled
DEVICE ?= auto
ARGS   ?=
PYTHON ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Set for another interpreter, these break the one in .venv or hide its packages.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

ifeq ($(filter auto cpu gpu none,$(DEVICE)),)
$(error DEVICE=$(DEVICE) is unknown: use DEVICE=cpu, DEVICE=gpu or DEVICE=none (analysis only), or leave it out)
endif

# The installed device is used until another is named: the login node of a cluster has no GPU, but the same .venv.
# `any` is enough to analyse; `full` can also train and serve, so an analysis-only .venv is completed for these targets.
installed := $(shell cat .venv/.device 2>/dev/null)
finished  := $(patsubst .venv/.installed-%,%,$(wildcard .venv/.installed-*))
detected   = $(shell if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
any  := .venv/.installed-$(or $(filter cpu gpu,$(DEVICE)),$(if $(filter none,$(DEVICE)),$(or $(finished),none)),$(installed),$(detected))
full := .venv/.installed-$(or $(filter cpu gpu,$(DEVICE)),$(filter cpu gpu,$(installed)),$(filter none,$(DEVICE)),$(detected))
PY   := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python

# Official benchmarks, entries of conf/ingest, that the checkpoints of STUDY play instead of its own: a study of its own.
BENCHMARKS ?=
empty      :=
named      := $(subst $(empty) ,_,$(strip $(BENCHMARKS)))
official   := $(if $(named),~benchmarks $(foreach name,$(BENCHMARKS),+ingest@ingest.$(name)=$(name)) study.name=$(STUDY)_$(named) "study.scope=the checkpoints of $(STUDY) on $(named)")

.PHONY: help install test replicate weights train run ingest official harness sweep status gather wandb-sync plan doctor paper audit evidence diff certify show play bench bases calibrate lint golden lock clean clean-all
.DEFAULT_GOAL := help

help: ## List the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "STUDY=$(STUDY)   one of: $(sort $(notdir $(basename $(wildcard conf/study/*.yaml))))"
	@echo "DEVICE=$(DEVICE)        cpu, gpu or none (analysis only); auto: as installed, else gpu if there is an NVIDIA driver"
	@echo "ARGS=...           more Hydra overrides or pytest options, e.g. ARGS='seed=1'"
	@echo "WORKERS=2          processes of \`make test\`; 0: one, for a debugger"
	@echo "PYTHON=...         interpreter for a new .venv (default: python3.11, else 3.12, 3.13, python3)"

install: $(any) ## Create or update .venv; does nothing if it is up to date

# Two processes, each with whole files of tests; WORKERS=0 runs all in one, for a debugger.
WORKERS ?= 2
test: $(full) ## Run the tests (not those marked slow or gpu)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

replicate: $(if $(filter reanalysis%,$(STUDY)),$(any),$(full)) ## Run STUDY from start to verdicts
	$(PY) -m replication replicate study=$(STUDY) $(official) $(ARGS)

weights: $(full) ## Have the weights of STUDY's public models here, or of MODEL (a file of conf/model): download, convert
	$(PY) -m replication weights $(if $(MODEL),study=reanalysis +model@models.$(MODEL)=$(MODEL),study=$(STUDY)) $(ARGS)

train: $(full) ## Train the organisms of STUDY
	$(PY) -m replication train study=$(STUDY) $(ARGS)

run: $(full) ## Play the missing episodes of STUDY into the store
	$(PY) -m replication run study=$(STUDY) $(ARGS)

ingest: $(any) ## Store the results of official harnesses that STUDY names
	$(PY) -m replication ingest study=$(STUDY) $(ARGS)

LAUNCHER ?= local
sweep: $(full) ## Start the unfinished jobs of STUDY, one per checkpoint: LAUNCHER=slurm, ray or local
	$(PY) -m replication sweep study=$(STUDY) launcher=$(LAUNCHER) $(ARGS)

status: $(any) ## List the jobs of STUDY: state, episodes, time left, failures; with the ARGS of its sweep
	@$(PY) -m replication status study=$(STUDY) $(ARGS)

wandb-sync: $(full) ## Log tables and figures of STUDY to wandb and upload what was logged offline
	@$(PY) -m replication wandb_sync study=$(STUDY) $(ARGS)

official: $(full) ## Run the official harnesses of STUDY; BENCHMARKS=bfcl: the checkpoints of STUDY on that one only
	$(PY) -m replication official study=$(STUDY) $(official) $(ARGS)

harness: $(any) ## Install an official harness into its own environment: NAME=bfcl
	$(PY) -m replication harness $(NAME) $(ARGS)

gather: $(any) ## Write the index of STUDY after several jobs or machines collected it
	$(PY) -m replication gather study=$(STUDY) $(official) $(ARGS)

plan: $(any) ## Print the cost of STUDY, what it could detect, and the best use of its budget
	@$(PY) -m replication plan study=$(STUDY) $(official) $(ARGS)

doctor: $(any) ## Print what this machine has and lacks for STUDY
	@$(PY) -m replication doctor study=$(STUDY) $(ARGS)

paper: $(any) ## Build figures, tables and paper of STUDY from the store or the frozen data
	$(PY) -m replication paper study=$(STUDY) $(official) $(ARGS)

audit: $(any) ## Audit tables of scores: TABLE='a.csv b.csv'; ARGS='treatment control' names the arms, in this order
	@$(PY) -m replication audit $(if $(TABLE),"$(TABLE)") $(ARGS)

evidence: $(any) ## Print published numbers with their sources; ARGS='pairs drift' selects tables
	@$(PY) -m replication evidence $(ARGS)

diff: $(any) ## List what differs between two runs or studies: A=... B=...
	@$(PY) -m replication diff $(if $(A),"$(A)") $(if $(B),"$(B)") $(ARGS)

certify: $(full) ## Replay a part of STUDY's episodes with another batch and order, and count what differs
	$(PY) -m replication certify study=$(STUDY) $(ARGS)

# The task and the scaffold of `show` and `play`; other choices go into ARGS, e.g. ARGS='index=3 tool_syntax=llama3'.
TASK     ?= terminal
LEVEL    ?= 1
SEED     ?= 0
SCAFFOLD ?= compact
chosen   := task=$(TASK) level=$(LEVEL) seed=$(SEED) scaffold=$(SCAFFOLD)

show: $(any) ## Print TASK at LEVEL with SEED as a model sees it through SCAFFOLD, and an expert's episode
	@$(PY) -m replication show $(chosen) $(ARGS)

play: $(any) ## Act in TASK yourself, in the terminal
	@$(PY) -m replication show mode=play $(chosen) $(ARGS)

bench: $(full) ## Measure the speed of store, suite, runner and statistics
	@for file in tests/performance/bench_*.py; do echo "== $$file"; PYTHONPATH=. $(PY) $$file $(ARGS) || exit 1; done

TRAINING ?= bases
bases: $(full) ## Train the missing base models that the arms of STUDY start from
	$(PY) -m replication bases study=$(STUDY) training=$(TRAINING) $(ARGS)

calibrate: $(full) ## Choose the levels of STUDY per scale on the calibration split, into conf/levels
	$(PY) -m replication calibrate study=$(STUDY) $(ARGS)

lint: $(any) ## Check style, formatting, types and unused code
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m vulture

golden: $(any) ## Rewrite the golden files; read the diff before committing it
	UPDATE_GOLDEN=1 $(PY) -m pytest tests/golden $(ARGS)

# LINKS: a folder with the +cpu wheel of torch, or a page that lists it. Existing pins are kept; delete a lock file to
# update all of them. The first lines of cpu.lock have a placeholder instead of the address.
LINKS ?= $(TORCH_CPU_INDEX)/torch
flags := --python-version 3.11 --python-platform x86_64-manylinux_2_28 --annotation-style line --no-emit-find-links --no-emit-index-url
lock_cpu := uv pip compile cpu.in --override cpu.overrides.txt $(flags) -o cpu.lock
lock_gpu := uv pip compile gpu.in $(flags) -o gpu.lock
lock_cluster := uv pip compile cluster.in -c cpu.lock -c gpu.lock $(flags) -o cluster.lock
lock: ## Recompile requirements/*.lock after a change of *.in (needs uv)
	cd requirements && UV_CUSTOM_COMPILE_COMMAND="$(lock_cpu) --find-links <local wheel folder>" $(lock_cpu) -q --find-links "$(LINKS)"
	cd requirements && UV_CUSTOM_COMPILE_COMMAND="$(lock_gpu)" $(lock_gpu) -q
	cd requirements && UV_CUSTOM_COMPILE_COMMAND="$(lock_cluster)" $(lock_cluster) -q

clean: ## Remove figures, paper.pdf and caches; results/ (the store), paper/data and .venv stay
	rm -rf outputs multirun wandb paper/figures paper/tables paper/paper.pdf paper/.build.json
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## clean, and remove .venv and results/ with all stored episodes and checkpoints
	rm -rf .venv results

.venv/.installed-cpu .venv/.installed-none: requirements/cpu.lock
.venv/.installed-gpu: requirements/gpu.lock
.venv/.installed-cpu .venv/.installed-gpu .venv/.installed-none: requirements/install.sh pyproject.toml
	@PYTHON="$(PYTHON)" TORCH_CPU_INDEX="$(TORCH_CPU_INDEX)" sh requirements/install.sh $(@:.venv/.installed-%=%)
	@touch $@
