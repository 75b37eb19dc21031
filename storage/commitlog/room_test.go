package commitlog

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestSkipsAreTheDocumentedSum compares with skew-binary numbers written out by counting.
func TestSkipsAreTheDocumentedSum(t *testing.T) {
	var terms []uint64 // of seq, largest first; only the last two may be equal
	for seq := uint64(1); seq < 100_000; seq++ {
		if n := len(terms); n >= 2 && terms[n-1] == terms[n-2] {
			terms = append(terms[:n-2], 2*terms[n-1]+1)
		} else {
			terms = append(terms, 1)
		}
		if got, want := skipSeq(seq), seq-terms[len(terms)-1]; got != want {
			t.Fatalf("skipSeq(%d): got %d, want %d", seq, got, want)
		}
	}
}

// TestPointersReachEverything writes a long room without files, position = sequence number, and
// walks it as a reader does. Now and then the room is idle and what is known of it forgotten.
func TestPointersReachEverything(t *testing.T) {
	const n = 200_000
	var r room
	previous, skip := make([]position, n+1), make([]position, n+1)
	forget := rand.New(rand.NewPCG(3, 4))
	for seq := uint64(1); seq <= n; seq++ {
		if seq > 1 && forget.IntN(10) == 0 {
			r = room{chain: chain{roots: []position{position(seq - 1)}, lowest: seq - 1}}
		}
		to := r.advance(seq, position(seq), 1, func(at position, seq uint64) (recordHeader, error) {
			if at != position(seq) {
				t.Fatalf("record %d is looked for at %d", seq, at)
			}
			return recordHeader{skip: skip[seq]}, nil
		})
		previous[seq], skip[seq] = to.previous, to.skip
		if previous[seq] != position(seq-1) || skip[seq] != position(skipSeq(seq)) {
			t.Fatalf("record %d points to %d and %d, want %d and %d", seq, previous[seq], skip[seq], seq-1, skipSeq(seq))
		}
		if limit := bits.Len64(seq) + 1; len(r.roots) > limit {
			t.Fatalf("record %d: %d roots, want at most %d", seq, len(r.roots), limit)
		}
	}
	most := 0
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		head := 1 + rng.Uint64N(n)
		target := 1 + rng.Uint64N(head)
		steps := 0
		for seq := head; seq != target; steps++ {
			if s := uint64(skip[seq]); s >= target {
				seq = s
			} else {
				seq = uint64(previous[seq])
			}
		}
		if limit := 3 * bits.Len64(head); steps > limit {
			t.Fatalf("from %d to %d: %d steps, want at most %d", head, target, steps, limit)
		}
		most = max(most, steps)
	}
	t.Logf("at most %d steps among %d records", most, n)
}

// TestMemoryPerRoom holds the figure in the package doc.
func TestMemoryPerRoom(t *testing.T) {
	const rooms = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table := newRoomTable()
	for i := range rooms {
		table.update(table.key(fmt.Sprintf("room-%08d", i)), func(s *roomState) { s.take(kindMessage, 1, position(100*i+64)) })
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / rooms
	t.Logf("%.0f bytes of heap per idle room", each)
	if each > 64 {
		t.Errorf("a room takes %.0f bytes, want at most 64", each)
	}
	runtime.KeepAlive(table)
}

// TestChainThatCannotBeRead: a room goes on without skips where the way down is damaged.
func TestChainThatCannotBeRead(t *testing.T) {
	r := room{chain: chain{roots: []position{1000}, lowest: 1000, total: 500}}
	unreadable := func(position, uint64) (recordHeader, error) { return recordHeader{}, errChain }
	known := map[position]bool{1000: true}
	for seq := uint64(1001); seq <= 3000; seq++ {
		to := r.advance(seq, position(seq), 1, unreadable)
		if to.previous != position(seq-1) || to.total != 500+seq-1000 {
			t.Fatalf("record %d: %+v", seq, to)
		}
		if to.skip != 0 && (to.skip != position(skipSeq(seq)) || !known[to.skip]) {
			t.Fatalf("record %d skips to %d, want %d or nothing", seq, to.skip, skipSeq(seq))
		}
		known[position(seq)] = true
	}
}
