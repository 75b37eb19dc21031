package commitlog

import "testing"

// TestLogIDLeavesNothingOpen: the log's id is looked for in segments of which some have no good header.
func TestLogIDLeavesNothingOpen(t *testing.T) {
	f := newFixture(t, false)
	f.remove(metaName)
	for _, name := range f.names[:len(f.names)-1] {
		f.change(f.path(name), func(b []byte) []byte {
			b[20] ^= 1
			return b
		})
	}
	config := f.config
	counting := newCountingFS(t, config.FS)
	config.FS = counting
	l := mustOpen(t, config)
	if open, _ := counting.counts(); open != l.Stats().OpenFiles {
		t.Errorf("%d segments are open, the log knows of %d", open, l.Stats().OpenFiles)
	}
	mustClose(t, l)
	if open, _ := counting.counts(); open != 0 {
		t.Errorf("%d segments are open behind Close", open)
	}
}
