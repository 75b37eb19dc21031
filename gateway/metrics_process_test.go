package gateway

import (
	"os"
	"testing"
)

// Where the kernel says how many files are open, that is taken. Where it does not, they are counted while there are few.
func TestOpenFiles(t *testing.T) {
	connections := 0
	p := newProcessMetrics(func() int { return connections })
	told := p.size
	exactly := func() int {
		t.Helper()
		names, err := os.ReadDir(openFiles)
		if err != nil {
			t.Fatal(err)
		}
		return len(names) - 1
	}
	p.size = func() int64 { return 4711 }
	if got := p.openFiles(); got != 4711 {
		t.Errorf("a kernel says that 4711 files are open, and told is %d", got)
	}
	p.size = func() int64 { return 0 }
	before := exactly()
	var files []*os.File
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if got := p.openFiles(); got != before+10 {
		t.Errorf("%d files are open, and counted are %d", before+10, got)
	}
	// Ten of them are connections now, and then there are too many to count.
	connections = 10
	if got := p.openFiles(); got != before+10 {
		t.Errorf("%d files are open, ten of them connections, and counted are %d", before+10, got)
	}
	connections = fewConnections + 1
	for _, f := range files {
		f.Close()
	}
	if got := p.openFiles(); got != before+connections {
		t.Errorf("beside %d connections %d files were open, and told is %d", connections, before, got)
	}
	if size := told(); size != 0 && (size < int64(before) || size > int64(before)+2) {
		t.Errorf("the kernel says that %d files are open, counted are %d", size, before)
	}
}
