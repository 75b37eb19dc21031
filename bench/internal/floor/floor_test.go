package floor

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMeasure(t *testing.T) {
	before := descriptors(t)
	f, err := Measure(128, 200, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if f.Bytes != 160 || f.Sockets != 200 {
		t.Errorf("a body of 128 bytes is a write of %d, to %d sockets", f.Bytes, f.Sockets)
	}
	// A system call takes some hundred nanoseconds anywhere, and a TCP socket of one host no millisecond of CPU.
	for name, seconds := range map[string]float64{"write": f.WriteSeconds, "read": f.ReadSeconds} {
		if seconds < 100e-9 || seconds > 1e-3 {
			t.Errorf("a %s takes %v s of CPU", name, seconds)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors were open before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
