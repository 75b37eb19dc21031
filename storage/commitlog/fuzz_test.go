package commitlog

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// FuzzDamagedLog changes bytes anywhere in the files of a log, raw and packed segments, META and
// checkpoints: it opens or is refused, a record that is given is one that was written, and nothing panics. The
// input is edits of 6 bytes: which file, an offset, what to xor. With forged the edits are of 14 bytes: file, offset, width and
// number, the checksums are made right afterwards, and what is given may be anything.
func FuzzDamagedLog(f *testing.F) {
	memory := vfs.NewMemory()
	config := retentionConfig(memory)
	l, err := Open(config)
	if err != nil {
		f.Fatal(err)
	}
	all := fill(f, l, 4, 120)
	retain(f, l, func(room string) storage.Retention { return storage.Retention{Records: 5 + uint64(len(room))} })
	w := newWriter(l)
	for i := range 40 {
		all["more"] = append(all["more"], w.mustAppend(f, "more", strings.Repeat("r", i)))
	}
	w.mustCommit(f, 40)
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	names, err := memory.List(testDir)
	if err != nil {
		f.Fatal(err)
	}
	for i := range names {
		f.Add([]byte{byte(i), 0, 0, 0, 20, 1, byte(i), 0, 0, 0, 100, 255}, false)
		f.Add([]byte{byte(i), 0, 0, 0, 24, 8, 0, 0, 0, 0, 0, 0, 0, 128, byte(i), 0, 0, 0, 20, 4, 255, 255, 255, 255, 0, 0, 0, 0}, true)
	}
	forger := newForger(f)
	f.Fuzz(func(t *testing.T, edits []byte, forged bool) {
		if forged {
			bear(t, forger.edit(t, edits))
			return
		}
		config := config
		config.FS = memory.CrashClone(nil)
		for ; len(edits) >= 6; edits = edits[6:] {
			path := filepath.Join(testDir, names[int(edits[0])%len(names)])
			edit(t, config.FS, path, int64(binary.BigEndian.Uint32(edits[1:])), edits[5])
		}
		l, err := Open(config)
		if err != nil {
			return // refused: what it says is for a person
		}
		for room, want := range all {
			for _, ascending := range []bool{true, false} {
				got, _ := readAround(t, l, room, ascending)
				for _, r := range got {
					if r.Seq < 1 || r.Seq > uint64(len(want)) || !equal(r, want[r.Seq-1]) {
						t.Fatalf("room %q: got %+v, which was never written", room, r)
					}
				}
			}
		}
		mustClose(t, l)
	})
}

func edit(t *testing.T, fsys vfs.FS, path string, offset int64, xor byte) {
	t.Helper()
	file, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err == nil && size > 0 {
		b := make([]byte, 1)
		if _, err = file.ReadAt(b, offset%size); err == nil {
			b[0] ^= xor
			_, err = file.WriteAt(b, offset%size)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// edit makes edits of 14 bytes.
func (f *forger) edit(t *testing.T, edits []byte) Config {
	t.Helper()
	config := f.config
	memory := f.memory.CrashClone(nil)
	config.FS = memory
	for ; len(edits) >= 14; edits = edits[14:] {
		name := f.names[int(edits[0])%len(f.names)]
		b := readFile(t, memory, name)
		offset, width := int(binary.BigEndian.Uint32(edits[1:]))%len(b), 4+int(edits[5])&4
		if offset+width <= len(b) {
			putNumber(b[offset:], binary.LittleEndian.Uint64(edits[6:]), width)
		}
		f.mend(name, b)
		writeFile(t, memory, name, b)
	}
	return config
}
