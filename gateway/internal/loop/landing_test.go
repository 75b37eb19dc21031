package loop

import "testing"

// TestLooksWhileLanding: what it costs to look who has something to read grows with the connections and not with their square, and
// nobody waits for more than a part of the others.
func TestLooksWhileLanding(t *testing.T) {
	for _, n := range []int{1, 100, 15_000, 300_000, 1_000_000} {
		cost := 0
		for aloft := n; aloft > 0; {
			cost += aloft
			next := untilNextLook(aloft)
			if next < 1 || next > max(128, aloft/50) {
				t.Fatalf("of %d, %d land until the next look", aloft, next)
			}
			aloft -= next
		}
		if cost > 70*n {
			t.Errorf("%d connections are looked at %d times", n, cost)
		}
	}
}
