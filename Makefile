# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. Build results are in .venv and .build; each is rebuilt only when its sources
# change.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .build/bin
PYTHON := .venv/bin/python
BPF_OBJECT := sidecar/xdp_packet_counter.bpf.o
SCRIPTS = $(shell grep -rlI '^\#!/usr/bin/env bash' .ci bench bpf demo deploy tests tools 2>/dev/null)
# The builder must have the version of what it builds; this is the only place that defines it.
OCB := go.opentelemetry.io/collector/cmd/builder@v$(shell sed -n 's/^  version: //p' collector/builder-config.yaml)
# Module v0.315.0 is Prometheus 3.15.0. Without its version Grafana does not know which functions it has.
PROMETHEUS_VERSION := $(shell sed -nE 's|^.*prometheus/prometheus v0\.([0-9])0?([0-9.]+).*|\1.\2|p' \
	tools/prometheus/go.mod)
STEP := tools/run-step

# Helm for the chart's tests: built, unless an existing one is named (HELM=/usr/local/bin/helm).
HELM_VERSION := v4.3.1
HELM ?= $(BIN)/helm-$(HELM_VERSION)
export HELM

# What builds and runs images, on which base, and their names. IMAGE_FLAGS are passed to each build.
CONTAINER_TOOL ?= podman
BASE_IMAGE ?= docker.io/library/debian:12-slim
IMAGE_PREFIX ?= localhost
IMAGE_FLAGS ?=
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sidecar/__init__.py)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE_BUILD = $(CONTAINER_TOOL) build $(IMAGE_FLAGS) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)

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

.PHONY: help install bpf collector prometheus promtool demo run chaos scale test explore lint format wheel clean packages go interface
.PHONY: chart goldens test-kube
.PHONY: dashboards pictures
.PHONY: bench ebpf-exporter performance
.PHONY: images image-sidecar image-collector image-prometheus image-grafana image-systemd test-podman test-systemd

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/bin/xdp-otel $(BPF_OBJECT) ## put the command at .venv/bin/xdp-otel, with the compiled XDP program

bpf: $(BPF_OBJECT) ## compile the XDP program

collector: $(BIN)/otelcol-xdp ## build the Collector with ocb (about 5 minutes the first time)

prometheus: $(BIN)/prometheus ## build Prometheus (about 5 minutes the first time)

promtool: $(BIN)/promtool ## build promtool, which checks Prometheus' configuration and rules

demo: collector prometheus install ## send known traffic, compare kernel and Prometheus (KEEP=1 leaves it running)
	@$(PYTHON) -m demo

run: interface collector prometheus install ## the same stack on a real interface: make run IFACE=eth0
	@$(PYTHON) -m demo --interface $(IFACE)

chaos: collector prometheus install ## break everything, compare kernel and Prometheus (CHAOS_SECONDS, CHAOS_SEED, CHAOS_ONLY)
	@$(PYTHON) -m chaos $(ARGS)

scale: collector prometheus install ## thousands of simulated nodes, real gateways and store: what each needs (SCALE_SECONDS)
	@$(PYTHON) -m scale $(ARGS)

test: collector prometheus promtool install $(HELM) ## run all tests (or some: make test ARGS='tests/unit -k name')
	@$(PYTHON) -m pytest --kernel=require $(ARGS)

explore: .venv/bin/xdp-otel ## keep searching where `make test` stops, with any seed (EXPLORE_SECONDS, EXPLORE_SEED, EXPLORE_JOBS)
	@$(PYTHON) -m tests.explore

test-podman: images image-prometheus image-grafana install ## run the pod of deploy/podman and check its counts (root, CONTAINER_TOOL)
	@XDP_OTEL_TEST_PODMAN=1 CONTAINER_TOOL='$(CONTAINER_TOOL)' IMAGE_PREFIX='$(IMAGE_PREFIX)' \
		$(PYTHON) -m pytest tests/podman $(ARGS)

chart: $(HELM) .venv/bin/xdp-otel ## check the Helm chart: lint, schema, goldens, Kubernetes' own schemas
	@$(PYTHON) -m pytest tests/chart $(ARGS)

goldens: $(HELM) .venv/bin/xdp-otel ## re-render the chart's golden files
	@$(PYTHON) -m tests.chart.chart

test-kube: $(HELM) .venv/bin/xdp-otel ## install on the cluster of KUBECONFIG and break it (see docs/install-kubernetes.md)
	@XDP_OTEL_TEST_KUBE=1 $(PYTHON) -m pytest tests/kube $(ARGS)

test-systemd: wheel collector image-systemd ## install and run deploy/systemd on a machine in a container (root, CONTAINER_TOOL)
	@XDP_OTEL_TEST_SYSTEMD=1 CONTAINER_TOOL='$(CONTAINER_TOOL)' IMAGE_PREFIX='$(IMAGE_PREFIX)' \
		$(PYTHON) -m pytest tests/systemd $(ARGS)

lint: .venv/bin/xdp-otel ## check style, types and the layers of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo --no-cache
	.venv/bin/shellcheck $(SCRIPTS)
	.venv/bin/hadolint Containerfile collector/Containerfile tests/images/*.Containerfile
	.venv/bin/yamllint --strict --config-file tools/yamllint.yaml collector deploy helm/*.yaml tests/chart/values

bench: collector prometheus install ## measure the cost of each part next to something comparable (root; ARGS='xdp encode')
	@$(PYTHON) -m bench $(ARGS)

# `make bench` compares with it if it is built; EBPF_EXPORTER=PATH names another one.
ebpf-exporter: $(BIN)/ebpf_exporter

performance: .venv/bin/xdp-otel ## put the figures of `make bench` into docs/performance.md and draw them
	@$(STEP) 'installing matplotlib' .venv/bin/pip install --editable '.[pictures]' --constraint constraints.txt
	@$(PYTHON) -m bench.document
	@$(PYTHON) -m bench.plot

dashboards: .venv/bin/xdp-otel ## write the Grafana dashboards, the alerts' runbook URL (RUNBOOK_URL), the chart's copies
	@RUNBOOK_URL='$(RUNBOOK_URL)' $(PYTHON) -m dashboards

pictures: prometheus promtool install ## draw docs/images/overview.png from the dashboard's queries on a simulated day
	@$(STEP) 'installing matplotlib' .venv/bin/pip install --editable '.[pictures]' --constraint constraints.txt
	@MPLBACKEND=Agg $(PYTHON) -m dashboards.picture

format: .venv/bin/xdp-otel ## format the Python code and apply ruff's fixes
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

wheel: install ## build the wheel, with the compiled XDP program in it, into dist/
	@$(STEP) 'building the wheel' .venv/bin/pip wheel --no-deps --wheel-dir dist .

images: image-sidecar image-collector ## build both images (CONTAINER_TOOL, BASE_IMAGE, IMAGE_PREFIX, IMAGE_FLAGS)

image-sidecar: # about 2 minutes
	@$(STEP) 'building the image $(IMAGE_PREFIX)/xdp-otel:$(VERSION)' \
		$(IMAGE_BUILD) --file Containerfile --tag $(IMAGE_PREFIX)/xdp-otel:$(VERSION) .

image-collector: collector
	@$(STEP) 'building the image $(IMAGE_PREFIX)/otelcol-xdp:$(VERSION)' \
		$(IMAGE_BUILD) --file collector/Containerfile --tag $(IMAGE_PREFIX)/otelcol-xdp:$(VERSION) .

# For tests, where no registry has the real ones.
image-prometheus: prometheus
	@$(STEP) 'building the image $(IMAGE_PREFIX)/prometheus:test' \
		$(IMAGE_BUILD) --file tests/images/prometheus.Containerfile --tag $(IMAGE_PREFIX)/prometheus:test .

image-grafana: image-sidecar
	@$(STEP) 'building the image $(IMAGE_PREFIX)/grafana-stand-in:test' \
		$(CONTAINER_TOOL) build $(IMAGE_FLAGS) --build-arg SIDECAR_IMAGE=$(IMAGE_PREFIX)/xdp-otel:$(VERSION) \
		--file tests/images/grafana-stand-in.Containerfile --tag $(IMAGE_PREFIX)/grafana-stand-in:test .

image-systemd: wheel
	@$(STEP) 'building the image $(IMAGE_PREFIX)/systemd:test' \
		$(IMAGE_BUILD) --file tests/images/systemd.Containerfile --tag $(IMAGE_PREFIX)/systemd:test .

clean: ## delete everything built and installed here
	rm -rf .venv .build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis sidecar/*.bpf.o

# What the machine must have. Checked before each build; quick and silent if nothing is missing.

packages: ## install the system packages that are missing
	@tools/install-packages

go:
	@tools/check-go

interface:
	$(if $(IFACE),,$(error make run: no interface given: name one, as in: make run IFACE=eth0))

# Build results.

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
		-tags remove_all_sd,enable_dns_sd -o '$(CURDIR)/$@' github.com/prometheus/prometheus/cmd/$*
	@touch $@

$(BIN)/ebpf_exporter: bench/ebpf_exporter/build | go packages
	@$(STEP) 'building ebpf_exporter (about 3 minutes the first time)' $<
	@touch $@

$(BIN)/helm-%: | go
	@$(STEP) 'building Helm $* (about 4 minutes the first time)' env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath \
		-ldflags '-s -w -X helm.sh/helm/v4/internal/version.version=$*' helm.sh/helm/v4/cmd/helm@$*
	@mv $(BIN)/helm $@
