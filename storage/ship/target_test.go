package ship

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/storage/vfs"
)

// TestManifestFormat holds the format still.
func TestManifestFormat(t *testing.T) {
	m := &manifest{
		Log: 0xfeedfacecafef00d, Epoch: 0x7f3a, At: time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC), End: 1000,
		Segments: []segment{
			{Base: 0, End: 700, Generation: 2, Bytes: 300, Chunks: []chunk{{200, 0x1a2b3c4d}, {300, 7}}},
			{Base: 700, End: 1000, Bytes: 300, Chunks: []chunk{{300, 0xffffffff}}},
		},
	}
	got, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":1,"checksum":"2ecc76ac","state":{"log":"feedfacecafef00d","epoch":"7f3a","at":"2026-11-28T13:00:00Z","end":1000,"segments":[` +
		`{"base":0,"end":700,"generation":2,"bytes":300,"chunks":[[200,"1a2b3c4d"],[300,"00000007"]]},` +
		`{"base":700,"end":1000,"generation":0,"bytes":300,"chunks":[[300,"ffffffff"]]}]}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := decodeManifest(got)
	if err != nil || !back.same(m) || back.Log != m.Log || !back.At.Equal(m.At) {
		t.Errorf("read back as %+v: %v", back, err)
	}
	if got, want := chunkName(m.Segments[0].key(), m.Segments[0].Chunks, 1), "chunks/00000000000000000000-2-00000000000000000200-00000000000000000300-00000007"; got != want {
		t.Errorf("name of a chunk is %s, want %s", got, want)
	}
}

// TestManifestDamage: no byte of a manifest can change without being noticed.
func TestManifestDamage(t *testing.T) {
	good, err := (&manifest{Log: 1, Epoch: 2, End: 64, Segments: []segment{{End: 64, Bytes: 64, Chunks: []chunk{{64, 5}}}}}).encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if m, err := decodeManifest(bad); err == nil {
			t.Errorf("byte %d changed: read as %+v", i, m)
		}
		if m, err := decodeManifest(good[:i]); err == nil {
			t.Errorf("cut at %d: read as %+v", i, m)
		}
	}
}

func TestImpossibleManifests(t *testing.T) {
	for name, segments := range map[string][]segment{
		"overlap":            {{End: 100, Bytes: 64, Chunks: []chunk{{64, 1}}}, {Base: 90, End: 200, Bytes: 64, Chunks: []chunk{{64, 1}}}},
		"ends before it is":  {{Base: 100, End: 100, Bytes: 64, Chunks: []chunk{{64, 1}}}},
		"behind the end":     {{End: 300, Bytes: 64, Chunks: []chunk{{64, 1}}}},
		"bytes nobody holds": {{End: 100, Bytes: 65, Chunks: []chunk{{64, 1}}}},
		"chunk runs back":    {{End: 100, Bytes: 64, Chunks: []chunk{{90, 1}, {64, 1}}}},
		"negative base":      {{Base: -5, End: 100, Bytes: 64, Chunks: []chunk{{64, 1}}}},
	} {
		content, err := (&manifest{End: 200, Segments: segments}).encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(content); err == nil || !strings.Contains(err.Error(), "impossible") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]Location{
		"/mnt/copy":              {Directory: "/mnt/copy"},
		"copy":                   {Directory: "copy"},
		"file:///mnt/copy":       {Directory: "/mnt/copy"},
		"s3://bucket-1":          {Bucket: "bucket-1"},
		"s3://bucket-1/":         {Bucket: "bucket-1"},
		"s3://bucket-1/a/b/":     {Bucket: "bucket-1", Prefix: "a/b"},
		"s3://my.bucket/rookery": {Bucket: "my.bucket", Prefix: "rookery"},
	} {
		if got, err := ParseLocation(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "file://host/path", "file://", "s3://", "s3:///prefix", "s3://Bucket", "s3://b", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a?b", "http://host/", "gs://bucket"} {
		if got, err := ParseLocation(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
	for text, want := range map[string]bool{"": true, "https://store:9000": true, "http://127.0.0.1:9000": false} {
		if _, secure, err := ParseEndpoint(text); err != nil || secure != want {
			t.Errorf("%q: secure %v, %v", text, secure, err)
		}
	}
	for _, text := range []string{"store:9000", "https://", "https://store/path", "https://user:secret@store", "ftp://store"} {
		if _, _, err := ParseEndpoint(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestDirectoryKeepsWhatItTook: what Put took is there after the power of its host is lost, whole; what failed is not there
// in part.
func TestDirectoryKeepsWhatItTook(t *testing.T) {
	content := bytes.Repeat([]byte("chunk"), 1000)
	for _, operation := range []vfs.Operation{vfs.OpList, vfs.OpMkdir, vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		for call := 1; call < 6; call++ {
			memory, _ := newDirectory(t)
			faulty := vfs.Faulty(memory, vfs.Fault{Operation: operation, Call: call, Err: errInjected, Short: 100})
			target := Directory(faulty, targetDir)
			taken := map[string]bool{}
			for _, name := range []string{"chunks/a", "manifests/b", "chunks/c"} {
				err := target.Put(t.Context(), name, content)
				if err != nil && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				taken[name] = err == nil
			}
			if operation == vfs.OpWrite || operation == vfs.OpSync {
				for _, folder := range []string{chunkFolder, manifestFolder} {
					if names, err := target.List(t.Context(), folder); err != nil || strings.Contains(strings.Join(names, " "), temporarySuffix) {
						t.Errorf("%v %d fails: %q is left: %v", operation, call, names, err)
					}
				}
			}
			for seed := range uint64(5) {
				after := Directory(memory.CrashClone(rand.New(rand.NewPCG(seed, uint64(call)))), targetDir)
				for name, took := range taken {
					got, err := after.Get(t.Context(), name)
					if took && err != nil || err == nil && !bytes.Equal(got, content) {
						t.Fatalf("%v %d fails: %s, taken %v, is %d bytes, %v", operation, call, name, took, len(got), err)
					}
				}
			}
		}
	}
}

// TestDirectoryThatIsNotThere: a mount that is missing must not be replaced by a directory of this machine.
func TestDirectoryThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mount")
	target := Directory(vfs.Disk(), dir)
	if err := target.Put(t.Context(), "chunks/a", []byte("x")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mount it") {
		t.Errorf("Put: %v", err)
	}
	if _, err := target.List(t.Context(), manifestFolder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	// It is mounted while the server runs, and unmounted, and mounted again with nothing in it.
	for range 2 {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := target.Put(t.Context(), "chunks/a", []byte("x")); err != nil {
			if err = target.Put(t.Context(), "chunks/a", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if content, err := target.Get(t.Context(), "chunks/a"); err != nil || string(content) != "x" {
			t.Fatal(content, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := target.Get(t.Context(), "chunks/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if err := target.Remove(t.Context(), "chunks/a"); err != nil {
		t.Errorf("Remove of what is not there: %v", err)
	}
}
