# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. Build results are in .venv and .build; each is rebuilt only when its sources
# change.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .build/bin
RELEASE := .build/release
PYTHON := .venv/bin/python
BPF_OBJECT := sidecar/xdp_packet_counter.bpf.o
SCRIPTS = $(shell grep -rlIE '^\#!/(usr/bin/env ba|bin/)sh' .ci bench bpf demo deploy release tests tools 2>/dev/null)
# The builder must have the version of what it builds; this is the only place that defines it.
OCB := go.opentelemetry.io/collector/cmd/builder@v$(shell sed -n 's/^  version: //p' collector/builder-config.yaml)
# Module v0.316.0 is Prometheus 3.16.0. Without its version Grafana does not know which functions it has.
PROMETHEUS_VERSION := $(shell sed -nE 's|^.*prometheus/prometheus v0\.([0-9])0?([0-9.]+).*|\1.\2|p' \
	tools/prometheus/go.mod)
STEP := tools/run-step

# Helm for the chart's tests: built, unless an existing one is named (HELM=/usr/local/bin/helm).
HELM_VERSION := v4.3.2
ACTIONLINT_VERSION := v1.7.12
NFPM_VERSION := v2.45.2
# Its registry, in memory, for a test of the chart's OCI artefact.
CRANE_VERSION := v0.21.0
HELM ?= $(BIN)/helm-$(HELM_VERSION)
export HELM

# What builds and runs images, on which base, and their names. IMAGE_FLAGS are passed to each build.
CONTAINER_TOOL ?= podman
BASE_IMAGE ?= docker.io/library/debian:12-slim
IMAGE_PREFIX ?= localhost
IMAGE_FLAGS ?=
export CONTAINER_TOOL BASE_IMAGE IMAGE_FLAGS
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

# What `make help` prints: each `##@ Heading`, and each target that has a `## comment` of one line.
.PHONY: help install demo stack run test clean

##@ First hour

help: ## list the targets
	@awk -F ':.*## ' '/^##@ / {printf "%s%s\n", (shown++ ? "\n" : ""), substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/bin/xdp-otel $(BPF_OBJECT) ## install the command as .venv/bin/xdp-otel (1 minute)

demo: collector prometheus install ## send known traffic and compare (KEEP=1: stay up)
	@$(PYTHON) -m demo

stack: collector prometheus install ## Collector and Prometheus, for your own sidecar
	@$(PYTHON) -m demo --stack

# Exactly one of them says what to count.
SOURCE = $(if $(IFACE),--interface '$(IFACE)')$(if $(MAP),--map '$(MAP)')$(if $(CONFIG),--config '$(CONFIG)')

run: source collector prometheus install ## stack and sidecar: IFACE=eth0, MAP=PIN or CONFIG=FILE
	@$(PYTHON) -m demo $(SOURCE)

test: collector prometheus promtool install $(HELM) ## build and run all tests (ARGS='tests/unit -k name')
	@$(PYTHON) -m pytest --kernel=require $(ARGS)

clean: attached ## delete everything built and installed here
	rm -rf .venv .build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis sidecar/*.bpf.o

##@ Parts

.PHONY: bpf collector prometheus promtool wheel ebpf-exporter
.PHONY: images image-sidecar image-collector image-prometheus image-grafana image-systemd

bpf: $(BPF_OBJECT) ## compile the XDP program

collector: $(BIN)/otelcol-xdp ## build the Collector (5 minutes the first time)

prometheus: $(BIN)/prometheus ## build Prometheus (5 minutes the first time)

promtool: $(BIN)/promtool ## build promtool, which checks rules

wheel: install ## build the wheel, with the XDP program, into dist/
	@$(STEP) 'building the wheel' .venv/bin/pip wheel --no-deps --wheel-dir dist .

images: image-sidecar image-collector ## build both images (CONTAINER_TOOL, BASE_IMAGE)

image-sidecar: packages-containers ## build the sidecar's image (2 minutes)
	@$(STEP) 'building the image $(IMAGE_PREFIX)/xdp-otel:$(VERSION)' \
		$(IMAGE_BUILD) --file Containerfile --tag $(IMAGE_PREFIX)/xdp-otel:$(VERSION) .

image-collector: packages-containers collector ## build the Collector's image
	@$(STEP) 'building the image $(IMAGE_PREFIX)/otelcol-xdp:$(VERSION)' \
		$(IMAGE_BUILD) --file collector/Containerfile --tag $(IMAGE_PREFIX)/otelcol-xdp:$(VERSION) .

# For tests, where no registry has the real ones.
image-prometheus: packages-containers prometheus ## build an image of Prometheus for the tests
	@$(STEP) 'building the image $(IMAGE_PREFIX)/prometheus:test' \
		$(IMAGE_BUILD) --file tests/images/prometheus.Containerfile --tag $(IMAGE_PREFIX)/prometheus:test .

image-grafana: image-sidecar ## build a stand-in for Grafana for the tests
	@$(STEP) 'building the image $(IMAGE_PREFIX)/grafana-stand-in:test' \
		$(CONTAINER_TOOL) build $(IMAGE_FLAGS) --build-arg SIDECAR_IMAGE=$(IMAGE_PREFIX)/xdp-otel:$(VERSION) \
		--file tests/images/grafana-stand-in.Containerfile --tag $(IMAGE_PREFIX)/grafana-stand-in:test .

image-systemd: packages-containers wheel ## build a machine with systemd for the tests
	@$(STEP) 'building the image $(IMAGE_PREFIX)/systemd:test' \
		$(IMAGE_BUILD) --file tests/images/systemd.Containerfile --tag $(IMAGE_PREFIX)/systemd:test .

# `make bench` compares with it if it is built; EBPF_EXPORTER=PATH names another one.
ebpf-exporter: $(BIN)/ebpf_exporter ## build what `make bench` compares with

##@ Maintenance

.PHONY: lint format explore chaos scale bench performance
.PHONY: release release-tools lock workflows version
.PHONY: chart goldens dashboards pictures test-podman test-systemd test-release test-selinux test-kube
.PHONY: test-kernels test-arm64

lint: .venv/bin/xdp-otel ## check style, types and the layers of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo --no-cache
	.venv/bin/shellcheck $(SCRIPTS)
	.venv/bin/hadolint Containerfile collector/Containerfile tests/images/*.Containerfile
	.venv/bin/yamllint --strict --config-file tools/yamllint.yaml collector deploy helm/*.yaml tests/chart/values

format: .venv/bin/xdp-otel ## format the Python code and apply ruff's fixes
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

explore: .venv/bin/xdp-otel ## go on where the tests stop (EXPLORE_SECONDS, _SEED)
	@$(PYTHON) -m tests.explore

chaos: collector prometheus install ## break everything, compare (CHAOS_SECONDS, _SEED, _ONLY)
	@$(PYTHON) -m chaos $(ARGS)

scale: collector prometheus install ## simulate thousands of nodes (SCALE_SECONDS)
	@$(PYTHON) -m scale $(ARGS)

bench: collector prometheus install ## measure what each part costs (ARGS='xdp encode')
	@$(PYTHON) -m bench $(ARGS)

performance: .venv/bin/xdp-otel ## put the figures of `make bench` into the docs
	@$(STEP) 'installing matplotlib' .venv/bin/pip install --editable '.[pictures]' --constraint constraints.txt
	@$(PYTHON) -m bench.document
	@$(PYTHON) -m bench.plot

dashboards: .venv/bin/xdp-otel ## write dashboards and alerts, also the chart's
	@RUNBOOK_URL='$(RUNBOOK_URL)' $(PYTHON) -m dashboards

pictures: prometheus promtool install ## draw the overview and a histogram for docs/images
	@$(STEP) 'installing matplotlib' .venv/bin/pip install --editable '.[pictures]' --constraint constraints.txt
	@MPLBACKEND=Agg $(PYTHON) -m dashboards.picture
	@MPLBACKEND=Agg $(PYTHON) -m dashboards.histogram_picture

release: packages-containers bpf collector release-tools $(HELM) $(BIN)/nfpm ## build what users install, into dist/ (REGISTRY=)
	@$(RELEASE)/bin/python -m release $(ARGS)

workflows: release-tools $(BIN)/actionlint ## check .github/workflows (actionlint, zizmor)
	$(BIN)/actionlint
	$(RELEASE)/bin/zizmor --offline --quiet .github/workflows

# For the workflows.
version:
	@echo $(VERSION)

lock: .venv/bin/xdp-otel ## pin what is shipped, by version and hash
	@$(STEP) 'installing uv' .venv/bin/pip install uv
	@$(LOCK) --constraint constraints.txt --output-file requirements.txt pyproject.toml
	@$(LOCK) --output-file release/requirements.txt release/requirements.in

chart: $(HELM) .venv/bin/xdp-otel ## check the Helm chart
	@$(PYTHON) -m pytest tests/chart $(ARGS)

goldens: $(HELM) .venv/bin/xdp-otel ## render the chart again: goldens, table of values
	@$(PYTHON) -m tests.chart.chart
	@$(PYTHON) -m release.chart_values

test-podman: images image-prometheus image-grafana install ## test deploy/podman
	@XDP_OTEL_TEST_PODMAN=1 CONTAINER_TOOL='$(CONTAINER_TOOL)' IMAGE_PREFIX='$(IMAGE_PREFIX)' \
		$(PYTHON) -m pytest tests/podman $(ARGS)

test-systemd: packages-containers wheel collector image-systemd ## test deploy/systemd in a container
	@XDP_OTEL_TEST_SYSTEMD=1 CONTAINER_TOOL='$(CONTAINER_TOOL)' IMAGE_PREFIX='$(IMAGE_PREFIX)' \
		$(PYTHON) -m pytest tests/systemd $(ARGS)

test-release: packages-release go image-systemd release $(BIN)/crane ## build twice, compare, install and run it
	@cp dist/SHA256SUMS .build/SHA256SUMS
	@$(RELEASE)/bin/python -m release $(ARGS)
	@cmp dist/SHA256SUMS .build/SHA256SUMS
	@XDP_OTEL_TEST_RELEASE=1 CONTAINER_TOOL='$(CONTAINER_TOOL)' IMAGE_PREFIX='$(IMAGE_PREFIX)' \
		$(PYTHON) -m pytest tests/release

test-arm64: release ## boot Debian's arm64 kernels, count there (QEMU)
	@XDP_OTEL_TEST_ARM64=1 $(PYTHON) -m pytest tests/release/test_arm64_kernel.py $(ARGS)

test-selinux: packages-selinux .venv/bin/xdp-otel ## compile and link deploy/selinux (SELINUX_SHARE=)
	@XDP_OTEL_TEST_SELINUX=1 $(PYTHON) -m pytest tests/selinux $(ARGS)

test-kube: $(HELM) .venv/bin/xdp-otel ## test the chart on KUBECONFIG's cluster, and break it
	@XDP_OTEL_TEST_KUBE=1 $(PYTHON) -m pytest tests/kube $(ARGS)

test-kernels: collector prometheus install ## boot Debian's kernels, test there (KERNELS=5.10,6.1)
	@$(PYTHON) -m tests.kernels $(if $(KERNELS),--kernels '$(KERNELS)') $(ARGS)

# The oldest Python that is supported decides which versions can be installed everywhere.
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

# What the machine must have. Checked before each build; quick and silent if nothing is missing.
.PHONY: packages go

packages: ## install the system packages that are missing
	@tools/install-packages

# What only some targets need: packages-containers, packages-release, packages-selinux.
packages-%:
	@tools/install-packages $*

go:
	@tools/check-go

# What the commands above ask first.
.PHONY: source attached

source:
	$(if $(filter 1,$(words $(IFACE) $(MAP) $(CONFIG))),,$(error cannot run: what to count is not clear: give one of \
		IFACE=eth0, MAP=/sys/fs/bpf/PIN and CONFIG=FILE))

attached:
	@tools/warn-attached

# Build results.

.venv/bin/xdp-otel: pyproject.toml constraints.txt | packages
	@$(STEP) 'making the virtual environment .venv' "$$(tools/find-python)" -m venv .venv
	@$(STEP) 'installing xdp-otel and its Python packages (about 1 minute the first time)' \
		.venv/bin/pip install --editable '.[dev]' --constraint constraints.txt
	@touch $@

release-tools: $(RELEASE)/bin/twine

$(RELEASE)/bin/twine: release/requirements.txt | packages
	@$(STEP) 'making the virtual environment $(RELEASE)' "$$(tools/find-python)" -m venv $(RELEASE)
	@$(STEP) 'installing the tools of the release' $(RELEASE)/bin/pip install --require-hashes --requirement $<
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

$(BIN)/actionlint: | go
	@$(STEP) 'building actionlint' env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath \
		github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)
	@touch $@

$(BIN)/crane: | go
	@$(STEP) 'building crane' env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath \
		github.com/google/go-containerregistry/cmd/crane@$(CRANE_VERSION)
	@touch $@

$(BIN)/nfpm: | go
	@$(STEP) 'building nfpm, which makes DEB and RPM' env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath \
		github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@touch $@

$(BIN)/helm-%: | go
	@$(STEP) 'building Helm $* (about 4 minutes the first time)' env GOBIN='$(CURDIR)/$(BIN)' go install -trimpath \
		-ldflags '-s -w -X helm.sh/helm/v4/internal/version.version=$*' helm.sh/helm/v4/cmd/helm@$*
	@mv $(BIN)/helm $@
