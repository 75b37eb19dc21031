package ship

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const (
	logDir    = "/data/log"
	targetDir = "/mount/copy"
)

// newDirectory gives a directory to ship to, in memory.
func newDirectory(t testing.TB) (*vfs.Memory, Target) {
	t.Helper()
	memory := vfs.NewMemory()
	if err := memory.MkdirAll(targetDir); err != nil {
		t.Fatal(err)
	}
	return memory, Directory(memory, targetDir)
}

func openLog(t testing.TB, fsys vfs.FS, config commitlog.Config) *commitlog.Log {
	t.Helper()
	config.FS, config.Dir, config.Logger = fsys, logDir, quiet
	if config.SegmentBytes == 0 {
		config.SegmentBytes = 8 << 10
	}
	l, err := commitlog.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a second Close is harmless
	return l
}

func shipperOf(l *commitlog.Log, target Target) *Shipper {
	return New(Config{Log: l, LogID: l.LogID(), Epoch: l.Epoch(), Target: target, ChunkBytes: 4 << 10, Logger: quiet})
}

func mustLook(t testing.TB, s *Shipper) {
	t.Helper()
	if err := s.look(t.Context(), time.Now()); err != nil {
		t.Fatalf("look: %v", err)
	}
}

// writer appends to a log and waits until it is committed.
type writer struct {
	log      *commitlog.Log
	producer *commitlog.Producer

	mu       sync.Mutex
	cond     *sync.Cond
	reported int
	err      error
	appended int
}

func newWriter(l *commitlog.Log) *writer {
	w := &writer{log: l}
	w.cond = sync.NewCond(&w.mu)
	w.producer = l.NewProducer(func(n int, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reported += n
		w.err = errors.Join(w.err, err)
		w.cond.Broadcast()
	})
	return w
}

// append gives the record before it is committed. Between two of one room there must be a wait.
func (w *writer) append(t testing.TB, room, body string) storage.Record {
	t.Helper()
	r := storage.Record{Room: room, Seq: w.log.Head(room) + 1, At: time.Now().UnixMilli(), From: "somebody", Body: []byte(body)}
	if err := w.producer.Append(r); err != nil {
		t.Fatalf("append: %v", err)
	}
	w.appended++
	return r
}

func (w *writer) wait(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.reported < w.appended {
		w.cond.Wait()
	}
	if w.err != nil {
		t.Fatalf("commit: %v", w.err)
	}
}

func (w *writer) commit(t testing.TB, room, body string) {
	t.Helper()
	w.append(t, room, body)
	w.wait(t)
}

// entries gives all records of a log with their places.
func entries(t testing.TB, fsys vfs.FS) []commitlog.Entry {
	t.Helper()
	v, err := commitlog.OpenView(fsys, logDir)
	if err != nil {
		t.Fatal(err)
	}
	var all []commitlog.Entry
	_, err = v.Scan(0, func(e commitlog.Entry) bool {
		e.Record.Body = slices.Clone(e.Record.Body)
		e.Record.Room, e.Record.From = string([]byte(e.Record.Room)), string([]byte(e.Record.From))
		all = append(all, e)
		return true
	}, func(damage *storage.CorruptionError) { t.Errorf("damaged: %v", damage) })
	if err := errors.Join(err, v.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

// restore writes the newest state at a target into a new file system, as a log's directory.
func restore(t testing.TB, target Target) (*vfs.Memory, *Source) {
	t.Helper()
	source, err := OpenSource(t.Context(), target)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	memory := vfs.NewMemory()
	if err := memory.MkdirAll(logDir); err != nil {
		t.Fatal(err)
	}
	for _, file := range source.Files() {
		content, err := io.ReadAll(source.Open(t.Context(), file))
		if err != nil {
			t.Fatalf("restore: %v", err)
		}
		if int64(len(content)) != file.Bytes {
			t.Fatalf("%s has %d bytes, want %d", file.Name, len(content), file.Bytes)
		}
		f, err := memory.Create(filepath.Join(logDir, file.Name))
		if err == nil {
			_, err = f.WriteAt(content, 0)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return memory, source
}

// checkRestored restores and compares with the log message by message, up to the end of the state. The log
// that is restored opens, with another epoch. It gives the number of records.
func checkRestored(t testing.TB, target Target, original []commitlog.Entry, epoch uint64) int {
	t.Helper()
	memory, source := restore(t, target)
	var want []commitlog.Entry
	for _, e := range original {
		if e.Position < source.End() {
			want = append(want, e)
		}
	}
	got := entries(t, memory)
	if len(got) != len(want) {
		t.Fatalf("restored %d records up to %d, want %d", len(got), source.End(), len(want))
	}
	for i := range want {
		if got[i].Position != want[i].Position || got[i].Stub != want[i].Stub || !equal(got[i].Record, want[i].Record) {
			t.Fatalf("record %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	l := openLog(t, memory, commitlog.Config{})
	// One is META, which is for who restores to make.
	if damage := l.Stats().Damage; damage != 1 || l.Epoch() == epoch || l.Epoch() == source.Epoch() {
		t.Fatalf("the restored log has %d damaged places, epoch %x, before %x", damage, l.Epoch(), epoch)
	}
	if base, bytes := l.Committed(); base+bytes != source.End() {
		t.Fatalf("the restored log ends at %d, want %d", base+bytes, source.End())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return len(got)
}

func equal(a, b storage.Record) bool {
	return a.Room == b.Room && a.Seq == b.Seq && a.At == b.At && a.From == b.From && a.Key == b.Key && string(a.Body) == string(b.Body)
}

var errInjected = errors.New("injected")

// flaky is a target whose call number failAt fails, or all from there on; 0 is none. A call may have
// happened although it failed.
type flaky struct {
	Target
	failAt   int
	lasting  bool
	happened bool

	calls      int
	puts       []string
	chunkBytes int64
}

func (f *flaky) call(do func() error) error {
	f.calls++
	if f.failAt == 0 || f.calls != f.failAt && (!f.lasting || f.calls < f.failAt) {
		return do()
	}
	if f.happened {
		_ = do()
	}
	return errInjected
}

func (f *flaky) Put(ctx context.Context, name string, content []byte) error {
	f.puts = append(f.puts, name)
	if isChunk(name) {
		f.chunkBytes += int64(len(content))
	}
	return f.call(func() error { return f.Target.Put(ctx, name, content) })
}

func (f *flaky) Get(ctx context.Context, name string) (content []byte, err error) {
	err = f.call(func() error { content, err = f.Target.Get(ctx, name); return err })
	return content, err
}

func (f *flaky) List(ctx context.Context, folder string) (names []string, err error) {
	err = f.call(func() error { names, err = f.Target.List(ctx, folder); return err })
	return names, err
}

func (f *flaky) Remove(ctx context.Context, name string) error {
	return f.call(func() error { return f.Target.Remove(ctx, name) })
}
