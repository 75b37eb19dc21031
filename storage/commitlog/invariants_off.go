//go:build !invariants

package commitlog

const invariants = false
