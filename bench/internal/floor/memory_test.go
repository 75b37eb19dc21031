package floor

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkRandomRead reads 256 MiB at random, each read where the one before says: what a miss of the caches and of the page tables takes. On a
// virtual machine it tells how its host gives it memory, which the program's own part of a delivery depends on.
func BenchmarkRandomRead(b *testing.B) {
	type line struct {
		next int
		_    [56]byte // a cache line
	}
	lines := make([]line, 256<<20/64)
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(lines))
	for i, at := range order {
		lines[at].next = order[(i+1)%len(order)]
	}
	at := 0
	for b.Loop() {
		at = lines[at].next
	}
}
