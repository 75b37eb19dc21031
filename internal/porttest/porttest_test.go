package porttest

import (
	"net"
	"testing"
)

// TestFree: a port can be listened on, is given once, and not while somebody listens.
func TestFree(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		address := FreeAddress(t)
		if seen[address] {
			t.Errorf("%s is given twice", address)
		}
		seen[address] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("a port that is not free: %v", err)
			continue
		}
		defer l.Close()
	}
	taken := FreeAddress(t)
	l, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	given.Add(^uint32(0)) // the next to look at is the one that is taken
	if again := FreeAddress(t); again == taken {
		t.Errorf("%s is given although somebody listens there", taken)
	}
}
