package gateway

import (
	"runtime"
	"testing"
)

// TestProcessorsToSpare: for who is woken while every loop keeps its own, unless the environment says how many.
func TestProcessorsToSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "")
	ManageProcessors()
	if got := runtime.GOMAXPROCS(0); got != before+spareProcessors {
		t.Errorf("%d processors, want %d and %d more", got, before, spareProcessors)
	}
	if got := realProcessors(); got > runtime.NumCPU() {
		t.Errorf("%d of them at a time on %d", got, runtime.NumCPU())
	}
	runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "7")
	ManageProcessors()
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d processors where the environment says how many, want %d as before", got, before)
	}
}
