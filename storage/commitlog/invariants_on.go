//go:build invariants

package commitlog

// invariants turns on checks that cost too much for every day: go test -tags invariants.
const invariants = true
