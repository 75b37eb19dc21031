package commitlog

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// gateFS lets the test decide when a sync of a segment goes on.
type gateFS struct {
	vfs.FS
	entered chan struct{} // one value per sync that has begun
	leave   chan error    // one value lets one sync go
	open    chan struct{} // closed: no more gate
}

func newGateFS() *gateFS {
	return &gateFS{FS: vfs.NewMemory(), entered: make(chan struct{}), leave: make(chan error), open: make(chan struct{})}
}

type gateFile struct {
	vfs.File
	fs *gateFS
}

// Open is not gated: only recovery syncs a file that it opened.
func (g *gateFS) Create(path string) (vfs.File, error) {
	file, err := g.FS.Create(path)
	if err != nil || !strings.HasSuffix(strings.TrimSuffix(path, temporarySuffix), segmentSuffix) {
		return file, err
	}
	return &gateFile{File: file, fs: g}, nil
}

func (f *gateFile) Sync() error {
	select {
	case f.fs.entered <- struct{}{}:
	case <-f.fs.open:
		return f.File.Sync()
	}
	if err := <-f.fs.leave; err != nil {
		return err
	}
	return f.File.Sync()
}

// openGated opens a log whose first segment is made and whose next sync waits for the test.
func openGated(t *testing.T, mode SyncMode) (*gateFS, *Log) {
	t.Helper()
	gate := newGateFS()
	config := testConfig(gate)
	config.Sync, config.QueueBytes = mode, minQueueBytes
	go func() { // the header of the first segment
		<-gate.entered
		gate.leave <- nil
	}()
	l := mustOpen(t, config)
	t.Cleanup(func() { close(gate.open) }) // runs before the Close of mustOpen
	return gate, l
}

func TestGroupCommit(t *testing.T) {
	gate, l := openGated(t, SyncAlways)
	const producers, each = 10, 100
	first := newWriter(l)
	first.mustAppend(t, "first", "")
	<-gate.entered // the first batch is being synced; all that follows gathers
	var wg sync.WaitGroup
	writers := make([]*writer, producers)
	for i := range writers {
		writers[i] = newWriter(l)
		wg.Go(func() {
			for range each {
				writers[i].mustAppend(t, fmt.Sprint("room-", i), "body")
			}
		})
	}
	wg.Wait()
	if got := l.Head("first"); got != 0 {
		t.Errorf("the record is visible before its sync: head %d", got)
	}
	if got := collect(t, l.ReadAfter, "first", 0, storage.PageLimit{}); len(got) != 0 {
		t.Errorf("the record can be read before its sync")
	}
	gate.leave <- nil
	first.mustCommit(t, 1)
	<-gate.entered
	if got := l.Head("room-0"); got != 0 {
		t.Errorf("the second batch is visible before its sync: head %d", got)
	}
	if got := l.Stats().QueueBytes; got == 0 {
		t.Error("the batch in work is not counted in QueueBytes")
	}
	gate.leave <- nil
	for i, w := range writers {
		w.mustCommit(t, each)
		if got := l.Head(fmt.Sprint("room-", i)); got != each {
			t.Errorf("head of room %d: got %d, want %d", i, got, each)
		}
	}
	stats := l.Stats()
	if stats.Batches != 2 || stats.Syncs != 2 || stats.Records != producers*each+1 {
		t.Errorf("got %d batches, %d syncs, %d records, want 2, 2, %d", stats.Batches, stats.Syncs, stats.Records, producers*each+1)
	}
	if got := stats.BatchRecords; got.Sum != producers*each+1 || got.Counts[0] != 1 || got.Counts[len(got.Counts)-1] != 2 {
		t.Errorf("histogram of batches: got %+v", got)
	}
}

func TestQueueIsBounded(t *testing.T) {
	gate, l := openGated(t, SyncAlways)
	w := newWriter(l)
	w.mustAppend(t, "room", "")
	<-gate.entered
	accepted := 1
	body := strings.Repeat("x", 64<<10)
	var err error
	for ; err == nil; accepted++ {
		err = w.append(w.record("room", body))
	}
	accepted--
	if !errors.Is(err, storage.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	limit := l.config.QueueBytes
	if got := l.Stats().QueueBytes; got > limit || got < limit-70<<10 {
		t.Errorf("queue holds %d bytes, want just under %d", got, limit)
	}
	gate.leave <- nil
	w.mustCommit(t, 1)
	<-gate.entered
	gate.leave <- nil
	w.mustCommit(t, accepted)
	w.mustAppend(t, "room", "there is room again, and the number was not lost")
	<-gate.entered
	gate.leave <- nil
	w.mustCommit(t, accepted+1)
}

// TestReportedLeavesTheQueue: who waits with a full queue for the report of all that is under way can append then, since no other comes.
func TestReportedLeavesTheQueue(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	left := make(chan int64)
	p := l.NewProducer(func(int, error) { left <- l.queue.bytes.Load() })
	for seq := range uint64(3) {
		if err := p.Append(storage.Record{Room: "r", Seq: seq + 1, From: "u", Body: make([]byte, storage.MaxBody)}); err != nil {
			t.Fatal(err)
		}
		if bytes := <-left; bytes != 0 {
			t.Errorf("%d bytes are in the queue when all is reported", bytes)
		}
	}
}

// TestQueueOfASlowDisk: a queue that is worked off slowly holds less, until it is not; one sync that takes long is no slow disk.
func TestQueueOfASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newGateFS()
		config := testConfig(gate)
		go func() { // the header of the first segment
			<-gate.entered
			gate.leave <- nil
		}()
		l := mustOpen(t, config)
		most := l.config.QueueBytes
		w := newWriter(l)
		committed := 0
		// batch has a record be synced, gives the queue so many bytes meanwhile, and says how many it took when the next batch,
		// which is these, has taken so long.
		batch := func(bytes int, took time.Duration) (held int) {
			t.Helper()
			w.mustAppend(t, "room", "")
			committed++
			<-gate.entered
			for body := strings.Repeat("x", 64<<10); held < bytes; held = l.Stats().QueueBytes {
				if err := w.append(w.record("room", body)); errors.Is(err, storage.ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				committed++
			}
			gate.leave <- nil
			if bytes > 0 {
				<-gate.entered
				time.Sleep(took)
				gate.leave <- nil
			}
			w.mustCommit(t, committed)
			synctest.Wait()
			return held
		}
		near := func(what string, held, want int) {
			t.Helper()
			if held > want || held < want-70<<10 {
				t.Errorf("%s the queue takes %d bytes, want just under %d", what, held, want)
			}
		}
		batch(leastPaced/2, time.Second)
		near("after half a MiB that took a second", batch(most, time.Second), most)
		// That was 16 MiB in a second, so 4 in a quarter of one, and as many beside these.
		near("after all of it took a second", batch(most, 2*time.Second), most/2)
		near("after half of it took two", batch(most, mayTake), most/8)
		near("after that took no longer than it may", batch(most, 0), most)
		close(gate.open)
	})
}

// TestSyncFailure has a batch in the sync, one waiting and one to come.
func TestSyncFailure(t *testing.T) {
	gate, l := openGated(t, SyncAlways)
	broken := errors.New("the device is gone")
	w, other := newWriter(l), newWriter(l)
	w.mustAppend(t, "room", "in the sync")
	<-gate.entered
	w.mustAppend(t, "room", "waiting")
	other.mustAppend(t, "other", "waiting")
	gate.leave <- broken
	for _, w := range []*writer{w, other} {
		committed, err := w.wait(len(w.next))
		var fault *storage.FaultError
		if committed != 0 || !errors.As(err, &fault) || fault.Op != "sync" || !errors.Is(err, broken) {
			t.Errorf("got %d committed and %v, want 0 and the fault", committed, err)
		}
	}
	if committed, _ := w.wait(2); committed != 0 {
		t.Errorf("%d records committed after the fault", committed)
	}
	if err := w.append(w.record("room", "later")); !errors.Is(err, broken) {
		t.Errorf("Append after the fault: got %v, want the fault", err)
	}
	if err := l.Err(); !errors.Is(err, broken) {
		t.Errorf("Err: got %v, want the fault", err)
	}
	if got := l.Head("room"); got != 0 {
		t.Errorf("head after the fault: got %d, want 0", got)
	}
	// No goroutine of the test serves the gate now: a second sync would hang here.
	if err := l.Close(); !errors.Is(err, broken) {
		t.Errorf("Close: got %v, want the fault", err)
	}
}

func TestSyncInterval(t *testing.T) {
	t.Run("commits without a sync", func(t *testing.T) {
		faulty := vfs.Faulty(vfs.NewMemory())
		config := testConfig(faulty)
		config.Sync, config.SyncEvery = SyncInterval, time.Hour
		l := mustOpen(t, config)
		opened := faulty.Calls(vfs.OpSync)
		w := newWriter(l)
		w.mustAppend(t, "room", "1")
		w.mustCommit(t, 1)
		if l.Head("room") != 1 || faulty.Calls(vfs.OpSync) != opened {
			t.Errorf("once reported: head %d, %d syncs, want 1 and none", l.Head("room"), faulty.Calls(vfs.OpSync)-opened)
		}
	})
	t.Run("syncs by itself", func(t *testing.T) {
		gate := newGateFS()
		config := testConfig(gate)
		config.Sync, config.SyncEvery = SyncInterval, time.Millisecond
		go func() {
			<-gate.entered
			gate.leave <- nil
		}()
		l := mustOpen(t, config)
		t.Cleanup(func() { close(gate.open) })
		w := newWriter(l)
		for i := range 3 {
			w.mustAppend(t, "room", "")
			<-gate.entered
			gate.leave <- nil
			w.mustCommit(t, i+1)
		}
		w.mustAppend(t, "room", "")
		<-gate.entered
		broken := errors.New("the device is gone")
		gate.leave <- broken
		for l.Err() == nil {
			runtime.Gosched()
		}
		if err := l.Err(); !errors.Is(err, broken) {
			t.Errorf("got %v, want the fault", err)
		}
	})
}

func TestSyncNever(t *testing.T) {
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	config := testConfig(faulty)
	config.Sync = SyncNever
	l := mustOpen(t, config)
	opened := faulty.Calls(vfs.OpSync)
	w := newWriter(l)
	for i := range 50 {
		w.mustAppend(t, "room", "")
		w.mustCommit(t, i+1)
	}
	if got := faulty.Calls(vfs.OpSync); got != opened {
		t.Errorf("%d syncs while appending, want none", got-opened)
	}
	mustClose(t, l)
	if got := faulty.Calls(vfs.OpSync); got != opened+3 { // the segment, the checkpoint and META
		t.Errorf("%d syncs at Close, want 3", got-opened)
	}
}

// TestAppendAllocates is the budget of the path from Append to the report: what grows at
// first (queue, buffer) is reused, and a record costs nothing.
func TestAppendAllocates(t *testing.T) {
	config := testConfig(vfs.Faulty(discardFS{vfs.NewMemory()}))
	config.SegmentBytes = maxSegmentBytes
	l := mustOpen(t, config)
	done := make(chan struct{}, 1)
	p := l.NewProducer(func(int, error) { done <- struct{}{} })
	body := []byte("a message of a usual length, about as long as this one")
	seq := uint64(0)
	appendOne := func() {
		seq++
		if err := p.Append(storage.Record{Room: "room", Seq: seq, At: 1, From: "user", Key: "key", Body: body}); err != nil {
			t.Error(err)
		}
		<-done
	}
	for range 1000 {
		appendOne()
	}
	if got := testing.AllocsPerRun(5000, appendOne); got > 0 {
		t.Errorf("Append to report: %.2f allocations a record, want 0", got)
	}
	buffer := make([]byte, 0, 1<<10)
	r := storage.Record{Room: "room", Seq: 1, At: 1, From: "user", Key: "key", Body: body}
	if got := testing.AllocsPerRun(1000, func() { buffer = appendRecord(buffer[:0], l.seal, 32, &r, 0, links{total: 1 << 10}) }); got != 0 {
		t.Errorf("encode: %.1f allocations, want 0", got)
	}
	if got := testing.AllocsPerRun(1000, func() { _, _, _, _ = decodeRecord(buffer, l.seal, 32) }); got != 0 {
		t.Errorf("decode: %.1f allocations, want 0", got)
	}
}

// TestBatchAllocates is the same for batches of many rooms: written lately, and so many that each was
// forgotten since its record before, which costs its name, its entry and its chain. (Chains that grow
// cost the former one in a hundred.)
func TestBatchAllocates(t *testing.T) {
	for _, c := range []struct {
		what     string
		rooms    int
		keep     int
		each     float64 // allocations a record, at most
		atLeast  float64
		perBatch int
	}{
		{what: "rooms written lately", rooms: 1000, keep: 1000, each: 0.05, perBatch: 1000},
		{what: "rooms that were forgotten", rooms: 1000, keep: 100, each: 6, atLeast: 2, perBatch: 50},
	} {
		t.Run(c.what, func(t *testing.T) {
			config := testConfig(vfs.NewMemory())
			config.SegmentBytes = maxSegmentBytes
			l := mustOpen(t, config)
			l.active.keep = c.keep
			done := make(chan int, c.perBatch)
			p := l.NewProducer(func(n int, err error) { done <- n })
			records := make([]storage.Record, c.rooms)
			for i := range records {
				records[i] = storage.Record{Room: fmt.Sprint("room-", i), From: "user", Key: "key", Body: []byte("body")}
			}
			next := 0
			batch := func() {
				for range c.perBatch {
					r := &records[next%c.rooms]
					next++
					r.Seq++
					if err := p.Append(*r); err != nil {
						t.Error(err)
						return
					}
				}
				for n := 0; n < c.perBatch; {
					n += <-done
				}
			}
			for range 4 * c.rooms / c.perBatch {
				batch()
			}
			if got := testing.AllocsPerRun(20, batch) / float64(c.perBatch); got > c.each || got < c.atLeast {
				t.Errorf("%.3f allocations a record, want %v to %v", got, c.atLeast, c.each)
			}
		})
	}
}

// TestReadAllocates is the budget of a page.
func TestReadAllocates(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	for range 500 {
		w.mustAppend(t, "room", "body")
	}
	w.mustCommit(t, 500)
	fn := func(storage.Record) bool { return true }
	limit := storage.PageLimit{Records: 50}
	// Less than one: the pool may be emptied by a collection in between.
	if got := testing.AllocsPerRun(500, func() { _ = l.ReadAfter("room", 100, limit, fn) }); got >= 1 {
		t.Errorf("ReadAfter: %.1f allocations a page, want 0", got)
	}
	if got := testing.AllocsPerRun(500, func() { _ = l.ReadBefore("room", 300, limit, fn) }); got >= 1 {
		t.Errorf("ReadBefore: %.1f allocations a page, want 0", got)
	}
}

// discardFS keeps nothing of what is appended, so that only the log's own memory is measured.
type discardFS struct{ vfs.FS }

func (d discardFS) Create(path string) (vfs.File, error) {
	file, err := d.FS.Create(path)
	return discardFile{file}, err
}

type discardFile struct{ vfs.File }

func (f discardFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 100 {
		return f.File.WriteAt(p, off)
	}
	return len(p), nil
}
