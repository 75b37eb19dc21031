package gateway

import (
	"testing"

	"rookery/tuning"
)

// TestTuningKnowsTheReserve: the tuner computes limits of open files with a formula of its own, so as not to import a server.
func TestTuningKnowsTheReserve(t *testing.T) {
	for _, loops := range []int{1, 2, 16, 256} {
		if got, want := tuning.Reserve(loops), reservedDescriptors(loops); got != want {
			t.Errorf("with %d loops tuning reserves %d descriptors, and the gateway %d", loops, got, want)
		}
	}
}
