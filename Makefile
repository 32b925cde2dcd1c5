# Needs Go, make and git; every target installs what else it needs.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
SET      ?=
FUZZTIME ?= 30s
BENCH    ?= .
COUNT    ?= 1
# How often each way to a signature is timed.
SIGNATURES ?= 1000
# For how long idle programs are watched, and how many approvals come before.
WINDOW    ?= 55s
APPROVALS ?= 1000
# How often make soak kills the service and the server each, how many decisions
# it sends through a bad network, and the seed of its choices where not any.
KILLS     ?= 500
DECISIONS ?= 1000
SEED      ?=
# How long all tests of one package may take together.
TIMEOUT  ?= 14m
# Which of the tests of test-system.
RUN      ?= .
# go.mod names the Go that brings the newest fixes; go fetches it where yours is older.
GOTOOLCHAIN ?= auto
export GO FUZZTIME GOTOOLCHAIN

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X countersign/internal/version.version=$(VERSION)

.PHONY: help deps build man install package test-packages test test-vm test-system soak lint fmt bench bench-idle fuzz shots vuln demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing; SET=demo, test, lint, package, system, vuln or vm takes one set only
	@scripts/deps $(SET)

# Tokens are reached through the system's PC/SC library, which takes cgo; the
# other two binaries are static whatever is asked for.
CGO_ENABLED ?= 1

build: ## build the three binaries in bin/; CGO_ENABLED=0 leaves tokens out
	@if [ '$(CGO_ENABLED)' != 0 ]; then scripts/deps build; fi
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/countersign ./cmd/countersign-server
	CGO_ENABLED=$(CGO_ENABLED) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/countersignd

man: build ## write manual pages and completions to bin/manual
	@scripts/manual

# Where make install puts things, as distributions set it.
DESTDIR    ?=
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
PARTS      ?= agent server

install: ## put what make build man made into DESTDIR, below PREFIX; PARTS=agent or server
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' scripts/install-files $(PARTS)

package: ## build the packages in dist/; ARCHES=amd64 builds for one architecture
	@scripts/deps package
	@VERSION='$(if $(filter command line environment,$(origin VERSION)),$(VERSION))' scripts/package $(ARCHES)

test-packages: ## build the packages twice, compare them, and have them judged
	@scripts/deps package packagetest
	@scripts/test-packages $(ARCHES)

test: ## run all tests with the race detector
	@scripts/deps test
	$(GO) test -json -race -shuffle=on -timeout $(TIMEOUT) ./... | $(GO) run ./internal/testreport

test-vm: ## test in a virtual machine whose TPM has other users too
	@scripts/deps vm
	@scripts/test-vm

test-system: ## install the packages on a machine with systemd, and live there; RUN is a pattern
	@scripts/deps system
	@scripts/test-system $(RUN)

soak: ## kill service and server KILLS times each under load; the log is kept in soak.log
	@scripts/deps test
	COUNTERSIGN_SOAK='$(KILLS)' COUNTERSIGN_DECISIONS='$(DECISIONS)' COUNTERSIGN_SEED='$(SEED)' \
		$(GO) test -race -count=1 -timeout 2h -v -parallel 1 -run '^(TestSoak|TestLostAnswers|TestOutages|TestLockedOut|Test.*Survives.*)$$' ./internal/e2e 2>&1 | tee soak.log
	$(GO) test -count=1 -v -run '^TestShownIsWhatIsSigned$$' ./agent 2>&1 | tee -a soak.log
	COUNTERSIGN_SOAK='$(KILLS)' $(GO) test -count=1 -v -run '^TestKilledAnywhere$$' ./installer 2>&1 | tee -a soak.log

lint: ## check formatting, lint rules, vet and the import rules
	@scripts/deps lint
	@unformatted=$$(.tools/gofumpt -l .); if [ -n "$$unformatted" ]; then \
		printf 'not gofumpt clean (make fmt mends it):\n%s\n' "$$unformatted" >&2; exit 1; fi
	$(GO) vet -tags 'vm system' ./...
	.tools/golangci-lint run
	$(GO) test ./internal/archtest

fmt: ## format the code
	@scripts/deps lint
	.tools/gofumpt -w .

bench: bench-idle ## run the benchmarks; BENCH is a pattern, COUNT=10 feeds benchstat
	@scripts/deps test
	$(GO) test -run '^$$' -bench '^BenchmarkSignatures$$' -benchtime $(SIGNATURES)x ./hsm/tpm
	$(GO) test -run '^$$' -bench '$(BENCH)' -skip '^Benchmark(Signatures|Idle)$$' -benchmem -count $(COUNT) \
		$$(git grep -lE '^func Benchmark[A-Z]' -- '*_test.go' | xargs -r -n1 dirname | sort -u | sed 's|^|./|')

STRIPPED := -ldflags '$(LDFLAGS) -s -w'

bench-idle: build ## what the service costs while it waits, beside a hello-world
	@scripts/deps test
	CGO_ENABLED=$(CGO_ENABLED) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bench/ ./internal/bench/empty ./internal/bench/hello
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bench/static/ ./cmd/countersignd
	CGO_ENABLED=$(CGO_ENABLED) $(GO) build -trimpath $(STRIPPED) -o bin/bench/stripped/ ./internal/bench/empty ./internal/bench/hello ./cmd/countersignd
	CGO_ENABLED=0 $(GO) build -trimpath $(STRIPPED) -o bin/bench/stripped/ ./cmd/countersign ./cmd/countersign-server
	CGO_ENABLED=0 $(GO) build -trimpath $(STRIPPED) -o bin/bench/stripped/static/ ./cmd/countersignd
	COUNTERSIGN_WINDOW='$(WINDOW)' COUNTERSIGN_APPROVALS='$(APPROVALS)' \
		$(GO) test -run '^$$' -bench '^BenchmarkIdle$$' -benchtime 1x -count 1 -timeout 1h ./internal/bench

fuzz: ## run each fuzz target for FUZZTIME
	@scripts/deps test
	scripts/fuzz

shots: ## take the pictures of notifications and prompts in docs/images anew
	@scripts/deps test
	COUNTERSIGN_SHOTS=$(CURDIR)/docs/images $(GO) test -count 1 -run '^TestDaemons$$' ./session

vuln: ## look for known vulnerabilities in what we link
	@scripts/deps vuln
	@scripts/vuln

demo: build ## the whole job on a software TPM; AUTO=1 answers by itself
	@scripts/deps demo
	$(GO) build -trimpath -o bin/demo/ ./examples/relying-party
	@AUTO='$(AUTO)' KEEP='$(KEEP)' demo/demo

clean: ## remove what was built and the tools that were installed
	rm -rf bin dist .tools
