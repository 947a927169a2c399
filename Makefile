# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. What is built lies in .venv and .build; each built file is made again only
# when what it is made from changes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .build/bin
PYTHON := .venv/bin/python
BPF_OBJECT := sidecar/xdp_packet_counter.bpf.o
SCRIPTS = $(shell grep -rlI '^\#!/usr/bin/env bash' .ci bench bpf demo deploy tests tools 2>/dev/null)
# The builder must have the version of what it builds, which stands in one place.
OCB := go.opentelemetry.io/collector/cmd/builder@v$(shell sed -n 's/^  version: //p' collector/builder-config.yaml)
# Module v0.315.0 is Prometheus 3.15.0. Without its version Grafana does not know which functions it has.
PROMETHEUS_VERSION := $(shell sed -nE 's|^.*prometheus/prometheus v0\.([0-9])0?([0-9.]+).*|\1.\2|p' \
	tools/prometheus/go.mod)
STEP := tools/run-step

# Go keeps its caches under HOME and does not start without one, as in some containers and CI jobs.
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.build/home
endif
# modcacherw: the module cache can be deleted. buildvcs: a clone that belongs to another user is no error.
export GOFLAGS := $(GOFLAGS) -modcacherw -buildvcs=false
# Programs that need no C compiler to build and no C library to run.
export CGO_ENABLED := 0
# Where Go's own archive installs it, which sudo's PATH does not have.
export PATH := $(PATH):/usr/local/go/bin

.PHONY: help install bpf collector prometheus promtool demo run chaos test lint format wheel clean packages go interface

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/bin/xdp-otel $(BPF_OBJECT) ## put the command at .venv/bin/xdp-otel, with the compiled XDP program

bpf: $(BPF_OBJECT) ## compile the XDP program

collector: $(BIN)/otelcol-xdp ## build the Collector with ocb (about 5 minutes the first time)

prometheus: $(BIN)/prometheus ## build Prometheus (about 5 minutes the first time)

promtool: $(BIN)/promtool ## build promtool, which checks Prometheus' configuration and rules

demo: collector prometheus install ## send known traffic, compare kernel and Prometheus (KEEP=1 leaves all up)
	@$(PYTHON) -m demo

run: interface collector prometheus install ## the same stack on a real interface: make run IFACE=eth0
	@$(PYTHON) -m demo --interface $(IFACE)

chaos: collector prometheus install ## break everything, compare kernel and Prometheus (CHAOS_SECONDS, CHAOS_SEED, CHAOS_ONLY)
	@$(PYTHON) -m chaos $(ARGS)

test: collector prometheus install ## run all tests (some of them only: make test ARGS='tests/unit -k name')
	@$(PYTHON) -m pytest --kernel=require $(ARGS)

lint: .venv/bin/xdp-otel ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/shellcheck $(SCRIPTS)
	.venv/bin/yamllint --strict --config-file tools/yamllint.yaml collector deploy

format: .venv/bin/xdp-otel ## format the Python code and repair what ruff can repair
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

wheel: install ## build the wheel, with the compiled XDP program in it, into dist/
	@$(STEP) 'building the wheel' .venv/bin/pip wheel --no-deps --wheel-dir dist .

clean: ## delete all that was built and installed here
	rm -rf .venv .build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis sidecar/*.bpf.o

# What the machine must have. Asked before each build, and quick and silent when all is there.

packages: ## install the system packages that are missing
	@tools/install-packages

go:
	@tools/check-go

interface:
	$(if $(IFACE),,$(error make run: no interface given: name one, as in: make run IFACE=eth0))

# What is built.

.venv/bin/xdp-otel: pyproject.toml constraints.txt | packages
	@$(STEP) 'making the virtual environment .venv' "$$(tools/find-python)" -m venv .venv
	@$(STEP) 'installing xdp-otel and its Python packages (about 1 minute the first time)' \
		.venv/bin/pip install --editable '.[dev]' --constraint constraints.txt
	@touch $@

$(BPF_OBJECT): $(wildcard bpf/*.c bpf/*.h bpf/Makefile) | packages
	@$(STEP) 'compiling the XDP program' $(MAKE) --no-print-directory -C bpf
	@touch $@

$(BIN)/ocb: collector/builder-config.yaml | go packages
	@$(STEP) 'building ocb, which builds the Collector (about 1 minute the first time)' \
		env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath $(OCB)
	@mv $(BIN)/builder $@
	@touch $@

$(BIN)/otelcol-xdp: collector/builder-config.yaml $(BIN)/ocb | go
	@$(STEP) 'building the Collector (about 5 minutes the first time)' $(BIN)/ocb --config $<
	@install .build/collector/otelcol-xdp $@

$(BIN)/prometheus $(BIN)/promtool: $(BIN)/%: tools/prometheus/go.mod tools/prometheus/go.sum | go packages
	@$(STEP) 'building $* (about 5 minutes the first time)' go build -C tools/prometheus -trimpath \
		-ldflags '-s -w -X github.com/prometheus/common/version.Version=$(PROMETHEUS_VERSION)' \
		-tags remove_all_sd -o '$(CURDIR)/$@' github.com/prometheus/prometheus/cmd/$*
	@touch $@
