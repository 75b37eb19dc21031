package ship

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/backup"
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

// restore makes a log of the newest state at a target, in a new file system.
func restore(t testing.TB, target Target) (*vfs.Memory, backup.RestoreResult) {
	t.Helper()
	memory := vfs.NewMemory()
	result, err := backup.Restore(t.Context(), &Source{Target: target}, backup.RestoreConfig{FS: memory, To: logDir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return memory, result
}

// checkRestored restores and compares with the log message by message, up to the end of the state. The log
// that is restored opens, with another epoch. It gives the number of records.
func checkRestored(t testing.TB, target Target, original []commitlog.Entry, epoch uint64) int {
	t.Helper()
	end := shippedEnd(t, target)
	memory, result := restore(t, target)
	if result.End != end || result.Epoch == 0 || uint64(result.Epoch) == epoch || len(result.Damage) > 0 || result.Cut > 0 {
		t.Fatalf("restored up to %d with %d damaged places, %d records cut, epoch %v; want %d and another epoch than %x",
			result.End, len(result.Damage), result.Cut, result.Epoch, end, epoch)
	}
	var want []commitlog.Entry
	for _, e := range original {
		if e.Position < end {
			want = append(want, e)
		}
	}
	got := entries(t, memory)
	if len(got) != len(want) {
		t.Fatalf("restored %d records up to %d, want %d", len(got), end, len(want))
	}
	for i := range want {
		if got[i].Position != want[i].Position || got[i].Stub != want[i].Stub || !equal(got[i].Record, want[i].Record) {
			t.Fatalf("record %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	return len(got)
}

func shippedEnd(t testing.TB, target Target) int64 {
	t.Helper()
	m, err := (&Source{Target: target}).Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m.End
}

// openFile opens a file of a state.
func openFile(t testing.TB, source *Source, f backup.File) io.Reader {
	t.Helper()
	r, err := source.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return r
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
