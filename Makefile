# The commands of the project; make alone lists them. Needs Go and make; what the tests need
# beside that is installed by test/setup, which make test calls.

# A Node newer than the distribution's, if test/setup had to fetch one.
export PATH := $(CURDIR)/bin/tools/node_modules/.bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run build test check lint race fuzz bench bench-go bench-vm cover crash crash-vm figures-log golden manual release package-test profiles tune-kernel tune-vm ktls-vm generate setup

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, and run in development mode with the log in ./data
	bin/rookery serve --dev --data ./data

build: ## build bin/rookery, one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/rookery ./cmd/rookery

test: setup check ## install what the tests need (as root), and run everything: 9 to 13 minutes on two cores where nothing is compiled yet

setup:
	test/setup

check: build ## everything that make test runs, without installing anything
	test/all

lint: ## formatting, vet, staticcheck and the rules of the house
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./...
	go tool staticcheck ./...
	go test .

race: ## the Go tests with the race detector
	go test -race -tags invariants -timeout 20m ./...

fuzz: ## every fuzz target for a minute
	test/fuzz 60s

bench: ## measure what docs/benchmarks.md says of one machine, into that page: 75 minutes, nothing else may run
	go run ./test/benchmarks --write

bench-go: ## the Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

bench-vm: ## measure what needs up to a million connections, in a virtual machine: hours, 14 GB of memory (as root, Debian)
	go run ./test/benchmarks --vm --write

cover: ## coverage of the Go tests, by function, in bin/cover.out
	@mkdir -p bin
	go test -coverpkg=./... -coverprofile bin/cover.out ./...
	go tool cover -func bin/cover.out | tail -1

crash: ## 200 rounds of kill -9 under load
	ROOKERY_CRASH_ROUNDS=200 go test ./test/process -run '^TestKillLosesNothingAcknowledged$$' -count=1 -v -timeout 60m

ROUNDS ?= 20
SEED ?= 0

crash-vm: ## cut a virtual machine's power ROUNDS times, after a look whether a loss would be noticed (as root, Debian)
	go run ./test/powercut --rounds 5 --expect-loss lying-disk
	go run ./test/powercut --rounds 5 --expect-loss sync-never
	go run ./test/powercut --rounds $(ROUNDS) --seed $(SEED)

figures-log: build ## measure a log of 50 million messages: 13 GB of disk for ten minutes
	go run ./test/biglog --binary bin/rookery

golden: ## write the golden vectors anew from their readings; read the difference before you commit it
	go test ./proto -run TestGolden -count=1 -update

manual: ## write the manual page anew from what the commands say of themselves
	go test ./cmd/rookery -run TestManualPage -count=1 -update

release: ## binaries, Debian packages, checksums and bills of materials in bin/release, the same bytes each time
	deploy/release/build

package-test: ## build a release twice, install, run and purge it in a fresh Debian, run the rest of deploy: a quarter of an hour (as root, Debian)
	test/package

profiles: ## write the ready profiles of tuning/profiles anew; read the difference before you commit it
	go test ./tuning/script -run TestProfiles -count=1 -update

tune-kernel: ## show on this machine's kernel, in namespaces, that tuning does what it says (as root)
	go run ./test/tuning --write

tune-vm: ## the same in a virtual machine whose limits are its own, for 100,000 connections: 3 GB of memory (as root, Debian)
	go run ./test/tuning --vm --connections 100000 --write

ktls-vm: ## TLS with records in the kernel, tested and measured in a virtual machine: 2 GB of memory (as root, Debian)
	go run ./test/kerneltls --write

generate: ## the Go code of proto/rookery/v1/rookery.proto
	proto/generate
