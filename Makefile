# Every target is a command or two that one could type.
SHELL := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# ./... leaves out a directory named testdata, but this one is a package.
ALL := ./... ./testdata
FUZZTIME ?= 30s
FUZZPKG ?= $(ALL)
BENCH ?= quick

.PHONY: build test check oracle fuzz bench e2e demo

# A static binary, ./swordfishd.
build:
	CGO_ENABLED=0 go build -trimpath -o swordfishd ./cmd/swordfishd

# Everything, with the race detector, against the real memcached, PostgreSQL and PHP, then the parsers' fuzz targets. Installs
# what is missing through apt; the tests themselves start what they need, on free ports, and end it. SWORDFISH_CI=1 turns a
# skipped test into a failure.
# The flag: git refuses to stamp what tests build in a checkout of another user, as CI has it.
test: export GOFLAGS := $(GOFLAGS) -buildvcs=false
test:
	internal/testenv/install.sh
	bin=$${MEMCACHED_BIN:-$$(internal/testenv/oracle.sh)} && \
	MEMCACHED_BIN=$$bin CGO_ENABLED=1 go test -race -shuffle=on -timeout 12m $(ALL)
	go test -tags invariants -timeout 5m ./store
	$(MAKE) --no-print-directory fuzz FUZZPKG=./protocol

check:
	@test -z "$$(gofmt -l .)" || { gofmt -d . | head -50; exit 1; }
	go vet $(ALL)
	go run $(STATICCHECK) $(ALL)

# Builds the newest memcached from Debian's source package, once, and prints its path.
oracle:
	@internal/testenv/oracle.sh

# Each fuzz target of each package for FUZZTIME, or of FUZZPKG alone.
fuzz:
	@go list $(FUZZPKG) | while read -r pkg; do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$pkg </dev/null || exit 1; \
		done; \
	done

# Ours against memcached on this machine, as bench/README.md explains: BENCH=quick, record, large, threads, tls, grow or memory; more
# flags in ARGS, as ARGS="-out PREFIX -profile".
bench: build
	bin=$${MEMCACHED_BIN:-$$(internal/testenv/oracle.sh)} && \
	go run ./bench/cmd/fishbench -ours ./swordfishd -peer $$bin -suite $(BENCH) $(ARGS)

# The tests of the whole program on real input, with their figures.
e2e: export GOFLAGS := $(GOFLAGS) -buildvcs=false
e2e:
	internal/testenv/install.sh
	bin=$${MEMCACHED_BIN:-$$(internal/testenv/oracle.sh)} && \
	MEMCACHED_BIN=$$bin go test -count=1 -v -timeout 20m ./e2e

demo:
	go run ./cmd/swordfishd demo
