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
	own := runtime.NumCPU()
	runtime.GOMAXPROCS(own)
	ManageProcessors()
	if got := runtime.GOMAXPROCS(0); got != own+spareProcessors {
		t.Errorf("%d processors, want %d and %d more", got, own, spareProcessors)
	}
	if got := realProcessors(); got != own {
		t.Errorf("%d of them at a time on %d", got, own)
	}
	quota := own + 1 // what a quota gives is less; that it is another number is what is seen
	runtime.GOMAXPROCS(quota)
	ManageProcessors()
	if got := runtime.GOMAXPROCS(0); got != quota {
		t.Errorf("%d processors where a quota gives %d", got, quota)
	}
	runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "7")
	ManageProcessors()
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d processors where the environment says how many, want %d as before", got, before)
	}
}
