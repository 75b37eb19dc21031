package measure

import (
	"os"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	var samples []time.Duration
	for i := range 1001 {
		samples = append(samples, time.Duration(1000-i)*time.Millisecond)
	}
	if got, want := PercentilesOf(samples), (Percentiles{1001, 500, 990, 1000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := PercentilesOf(nil); got != (Percentiles{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestKibibytes(t *testing.T) {
	resident, err := Kibibytes("/proc/self/status", "VmRSS")
	if err != nil || resident < 1<<20 {
		t.Errorf("this process holds %d bytes, %v", resident, err)
	}
	if _, err := Kibibytes("/proc/self/status", "NoSuchField"); err == nil {
		t.Error("a field that is not there has a value")
	}
	if _, err := Kibibytes(os.DevNull, "VmRSS"); err == nil {
		t.Error("an empty file has a value")
	}
}
