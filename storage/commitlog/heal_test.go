package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// TestHeal breaks the disk for a while, in each way, under a producer that goes on from the head
// after every failure, as a shard does: when the disk answers again the log takes appends without a
// hand, and what was acknowledged before, between and after is there, also after a power loss.
func TestHeal(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		operation vfs.Operation
		err       error
		short     int
	}{
		"disk full":             {vfs.OpWrite, syscall.ENOSPC, 50},
		"write error":           {vfs.OpWrite, syscall.EIO, 0},
		"sync error":            {vfs.OpSync, syscall.EIO, 0},
		"read-only file system": {vfs.OpWrite, syscall.EROFS, 0},
		"no new files":          {vfs.OpCreate, syscall.ENOSPC, 0},
		"no new names":          {vfs.OpSyncDir, syscall.EIO, 0},
	}
	for name, test := range tests {
		for _, mode := range []SyncMode{SyncAlways, SyncNever} {
			t.Run(name+" "+mode.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					heal(t, mode, vfs.Fault{Operation: test.operation, Err: test.err, Short: test.short, Lasting: true})
				})
			})
		}
	}
}

func heal(t *testing.T, mode SyncMode, fault vfs.Fault) {
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	config := testConfig(faulty)
	config.SegmentBytes, config.Sync, config.growing = minSegmentBytes, mode, false
	l := mustOpen(t, config)
	w := newWriter(l)
	var acknowledged []storage.Record
	reported := 0
	// publish gives false if the record was refused or failed.
	publish := func(i int) bool {
		w.next = map[string]uint64{} // from the head
		r := w.record(fmt.Sprint("room-", i%3), fmt.Sprint("message ", i))
		before, _ := w.wait(reported)
		if err := w.append(r); err != nil {
			return false
		}
		reported++
		after, _ := w.wait(reported)
		if after > before {
			acknowledged = append(acknowledged, r)
		}
		return after > before
	}
	i := 0
	for ; i < 30; i++ {
		publish(i)
	}
	if len(acknowledged) != 30 {
		t.Fatalf("%d of 30 were acknowledged on a good disk", len(acknowledged))
	}
	for round := range 3 {
		// A spare that is being made while the disk breaks would be ready a moment later, and heal the log rightly.
		time.Sleep(healEvery)
		fault.Call = faulty.Calls(fault.Operation) + 1
		faulty.Break(fault)
		refused := 0
		for ; refused < 5 && i < 1000; i++ {
			if !publish(i) {
				refused++
			}
		}
		if refused < 5 {
			t.Fatalf("round %d: a broken disk took %d messages", round, i)
		}
		if !errors.Is(l.Err(), fault.Err) {
			t.Errorf("round %d: Err is %v, want %v", round, l.Err(), fault.Err)
		}
		time.Sleep(10 * healEvery)
		if l.Err() == nil {
			t.Errorf("round %d: healed on a broken disk", round)
		}
		checkRecords(t, "reading goes on", readAll(t, l, "room-0"), ofRoom(acknowledged, "room-0"))
		segments := l.Stats().Segments
		faulty.Break()
		time.Sleep(2 * healEvery)
		if err := l.Err(); err != nil {
			t.Fatalf("round %d: not healed: %v", round, err)
		}
		if got := l.Stats().Segments; got > segments+1 {
			t.Errorf("round %d: healing made %d segments", round, got-segments)
		}
		for n := i + 20; i < n; i++ {
			if !publish(i) {
				t.Fatalf("round %d: message %d was refused after the healing", round, i)
			}
		}
	}
	if mode == SyncAlways {
		for seed := range uint64(20) {
			crashed := config
			crashed.FS = memory.CrashClone(rand.New(rand.NewPCG(seed, 1)))
			after := mustOpen(t, crashed)
			checkRecords(t, "after a power loss", recent(t, after, zeroTime, 1<<30), acknowledged)
			mustClose(t, after)
		}
	}
	mustClose(t, l)
	l = mustOpen(t, config)
	checkRecords(t, "opened again", recent(t, l, zeroTime, 1<<30), acknowledged)
	mustClose(t, l)
}

// TestHealInAnEmptySegment: a batch that was longer than what healing proves may have reached the file of an empty segment in full.
// Nothing of it comes back behind the records that take its place, though one of them ends just where one of it begins.
func TestHealInAnEmptySegment(t *testing.T) {
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	config := testConfig(faulty)
	config.SegmentBytes, config.QueueBytes, config.HealEvery = 3<<20, 8<<20, time.Millisecond
	l := mustOpen(t, config)
	// The committer waits in its report, so that what comes next is one batch.
	reporting, goOn := make(chan struct{}), make(chan struct{})
	w := newWriter(l)
	blocking := l.NewProducer(func(int, error) {
		reporting <- struct{}{}
		<-goOn
	})
	filler := storage.Record{Room: "filler", At: 1, From: "user", Body: make([]byte, storage.MaxBody)}
	for filler.Seq = 1; filler.Seq < 3; filler.Seq++ {
		if err := blocking.Append(filler); err != nil {
			t.Fatal(err)
		}
		<-reporting
		if filler.Seq == 1 {
			goOn <- struct{}{}
		}
	}
	const failed, kept = 1500, 1200
	for i := range failed {
		w.mustAppend(t, "room", fmt.Sprintf("refused %0900d", i))
	}
	// The header of the next segment, and then the batch.
	faulty.Break(vfs.Fault{Operation: vfs.OpWrite, Call: faulty.Calls(vfs.OpWrite) + 2, Err: syscall.EIO, Short: 8 << 20})
	goOn <- struct{}{}
	if committed, err := w.wait(failed); committed != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("%d of a batch were committed, the error is %v", committed, err)
	}
	for l.Err() != nil {
		runtime.Gosched()
	}
	w = newWriter(l)
	var want []storage.Record
	for i := range kept {
		want = append(want, w.mustAppend(t, "room", fmt.Sprintf("written %0900d", i)))
	}
	w.mustCommit(t, kept)
	config.FS = memory.CrashClone(rand.New(rand.NewPCG(1, 1)))
	after := mustOpen(t, config)
	checkRecords(t, "after a power loss", readAll(t, after, "room"), want)
}

// TestHealedIsSynced: what healing has synced counts as synced, or retention would wait for the next message.
func TestHealedIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.Faulty(vfs.NewMemory())
		config := testConfig(faulty)
		config.Sync = SyncNever
		l := mustOpen(t, config)
		w := newWriter(l)
		w.mustAppend(t, "room", "visible, not synced")
		w.mustCommit(t, 1)
		faulty.Break(vfs.Fault{Operation: vfs.OpWrite, Call: faulty.Calls(vfs.OpWrite) + 1, Err: syscall.EIO})
		w.mustAppend(t, "room", "fails")
		time.Sleep(2 * healEvery)
		if err := l.Err(); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(stop) })
		if err := l.syncPublished(stop); err != nil {
			t.Errorf("what is visible does not count as synced: %v", err)
		}
		mustClose(t, l)
	})
}

// TestSyncDuringAFault: who waits for a sync is told of a fault each time, not only the first.
func TestSyncDuringAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.Faulty(vfs.NewMemory())
		config := testConfig(faulty)
		config.Sync, config.HealEvery = SyncNever, 24*time.Hour
		l := mustOpen(t, config)
		w := newWriter(l)
		w.mustAppend(t, "room", "visible, not synced")
		w.mustCommit(t, 1)
		faulty.Break(vfs.Fault{Operation: vfs.OpWrite, Call: faulty.Calls(vfs.OpWrite) + 1, Err: syscall.EIO})
		w.mustAppend(t, "room", "fails")
		synctest.Wait()
		stop := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(stop) })
		for range 2 {
			if err := l.syncPublished(stop); !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v, want the fault", err)
			}
		}
		_ = l.Close()
	})
}

// TestStaleProducer: a producer that has not heard of a failure yet is refused, not believed.
func TestStaleProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.Faulty(vfs.NewMemory())
		l := mustOpen(t, testConfig(faulty))
		w := newWriter(l)
		w.mustAppend(t, "room", "1")
		w.mustCommit(t, 1)
		faulty.Break(vfs.Fault{Operation: vfs.OpSync, Call: faulty.Calls(vfs.OpSync) + 1, Err: syscall.EIO})
		lost := w.mustAppend(t, "room", "lost")
		synctest.Wait()
		time.Sleep(2 * healEvery)
		stale := lost
		stale.Seq++
		if err := w.producer.Append(stale); !errors.Is(err, storage.ErrSequence) {
			t.Errorf("an append behind the lost record: got %v, want ErrSequence", err)
		}
		if err := w.producer.Append(lost); err != nil {
			t.Errorf("the lost record again: %v", err)
		}
		synctest.Wait()
		if got := l.Head("room"); got != 2 {
			t.Errorf("head is %d, want 2", got)
		}
		mustClose(t, l)
	})
}

func TestStartRoom(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	l := mustOpen(t, config)
	if err := l.StartRoom("old", 1000); err != nil {
		t.Fatal(err)
	}
	if err := l.StartRoom("old", 1000); err == nil {
		t.Error("a room was started twice")
	}
	w := newWriter(l)
	var want []storage.Record
	for range 40 {
		want = append(want, w.mustAppend(t, "old", "message"))
	}
	w.mustCommit(t, 40)
	for round := range 3 {
		if l.Head("old") != 1039 || l.Begin("old") != 1000 || l.Begin("new") != 1 {
			t.Errorf("round %d: head %d, begin %d", round, l.Head("old"), l.Begin("old"))
		}
		checkRecords(t, "from the start", readAll(t, l, "old"), want)
		mustClose(t, l)
		if round == 1 {
			removeCheckpoints(t, memory)
		}
		l = mustOpen(t, config)
	}
}

// TestStartRoomAgain: a room with records goes on at a higher number, and what was before is not given.
func TestStartRoomAgain(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	l := mustOpen(t, config)
	w := newWriter(l)
	w.mustAppend(t, "room", "before")
	if err := l.StartRoom("room", 1000); err != nil {
		t.Fatal(err)
	}
	w.mustCommit(t, 1)
	if l.Head("room") != 999 || l.Begin("room") != 1000 {
		t.Errorf("head %d, begin %d", l.Head("room"), l.Begin("room"))
	}
	for _, first := range []uint64{1, 1000} {
		if err := l.StartRoom("room", first); err == nil {
			t.Errorf("the room was started at %d", first)
		}
	}
	w = newWriter(l)
	want := []storage.Record{w.mustAppend(t, "room", "behind"), w.mustAppend(t, "room", "behind")}
	w.mustCommit(t, 2)
	for round := range 3 {
		if l.Head("room") != 1001 || l.Begin("room") != 1000 {
			t.Errorf("round %d: head %d, begin %d", round, l.Head("room"), l.Begin("room"))
		}
		checkRecords(t, "from the start", readAll(t, l, "room"), want)
		mustClose(t, l)
		if round == 1 {
			removeCheckpoints(t, memory)
		}
		l = mustOpen(t, config)
	}
}

// TestTrimmedRoomsTakeNothing: where a room began is of use only while files are rewritten.
func TestTrimmedRoomsTakeNothing(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	for i := range 10 {
		room := fmt.Sprintf("room-%d", i)
		w.mustAppend(t, room, "message")
		w.mustCommit(t, i+1)
		if err := l.Trim(room, 2); err != nil || l.Begin(room) != 2 {
			t.Fatalf("the room begins at %d, %v", l.Begin(room), err)
		}
	}
	l.retention.mu.Lock()
	kept := len(l.retention.unproven)
	l.retention.mu.Unlock()
	if kept != 0 {
		t.Errorf("the beginnings of %d rooms are kept", kept)
	}
	mustClose(t, l)
}

// TestWhatNoCheckpointKnowsIsKept: a room that is trimmed while files are rewritten.
func TestWhatNoCheckpointKnowsIsKept(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	for i := range 4 {
		w.mustAppend(t, "room", "message")
		w.mustCommit(t, i+1)
	}
	key := l.table.key("room")
	for begin := uint64(1); begin < 3; begin++ {
		if _, err := l.retention.prove(); err != nil {
			t.Fatal(err)
		}
		if err := l.Trim("room", begin+1); err != nil {
			t.Fatal(err)
		}
		if first, _ := l.retention.proven(key); first != begin {
			t.Errorf("it goes up to %d, and the checkpoint knows %d", first, begin)
		}
		l.retention.forgetUnproven()
	}
	mustClose(t, l)
}

// TestTrimAmidClose gives the error that whoever trims a closed log gets. Here Close waits for who says how much of a room is kept.
func TestTrimAmidClose(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMemory()))
	w := newWriter(l)
	const records = 200 // it looks every now and then whether the log is being closed
	for i := range records {
		w.mustAppend(t, "room", "message")
		w.mustCommit(t, i+1)
	}
	asked, answer, closed := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	l.Retain(func(string) storage.Retention {
		asked <- struct{}{}
		<-answer
		return storage.Retention{}
	})
	<-asked
	go func() { closed <- l.Close() }()
	<-l.retention.stop
	if err := l.Trim("room", records+1); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	close(answer)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestTrim(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes = minSegmentBytes
	l := mustOpen(t, config)
	w := newWriter(l)
	var want []storage.Record
	for i := range 100 {
		want = append(want, w.mustAppend(t, "room", "message"))
		w.mustCommit(t, i+1)
	}
	for _, first := range []uint64{40, 30, 77, 101, 200} {
		if err := l.Trim("room", first); err != nil {
			t.Fatal(err)
		}
		begin := max(1, min(101, max(first, l.Begin("room"))))
		if l.Begin("room") != begin {
			t.Errorf("Trim to %d: begin is %d", first, l.Begin("room"))
		}
		checkRecords(t, "trimmed", readAll(t, l, "room"), want[begin-1:])
		got, damaged := readAround(t, l, "room", false)
		checkRecords(t, "trimmed, backwards", got, want[begin-1:])
		if len(damaged) > 0 {
			t.Errorf("what is gone is told as damaged: %v", damaged)
		}
	}
	want = append(want, w.mustAppend(t, "room", "goes on"))
	w.mustCommit(t, 101)
	mustClose(t, l)
	l = mustOpen(t, config)
	if l.Begin("room") != 101 || l.Head("room") != 101 {
		t.Errorf("opened again: begin %d, head %d, want 101 and 101", l.Begin("room"), l.Head("room"))
	}
	checkRecords(t, "opened again", readAll(t, l, "room"), want[100:])
}

// TestOpenOnAFullDisk: a server that was killed there serves what it has, and goes on when there is room.
func TestOpenOnAFullDisk(t *testing.T) {
	memory := vfs.NewMemory()
	config := testConfig(memory)
	config.SegmentBytes, config.HealEvery = minSegmentBytes, time.Millisecond
	l := mustOpen(t, config)
	w := newWriter(l)
	var want []storage.Record
	for i := range 60 {
		want = append(want, w.mustAppend(t, "room", strings.Repeat("m", 100)))
		w.mustCommit(t, i+1)
	}
	crashed := memory.CrashClone(nil)
	mustClose(t, l)
	for name, left := range map[string]*vfs.Memory{"killed": crashed, "closed": memory} {
		t.Run(name, func(t *testing.T) { openOnAFullDisk(t, config, left, l.Epoch(), want) })
	}
}

func openOnAFullDisk(t *testing.T, config Config, left *vfs.Memory, epoch uint64, want []storage.Record) {
	full := vfs.Faulty(left, vfs.Fault{Operation: vfs.OpCreate, Call: 1, Lasting: true, Err: syscall.ENOSPC})
	config.FS = full
	want = slices.Clone(want)
	l := mustOpen(t, config)
	checkRecords(t, "on the full disk", readAll(t, l, "room"), want)
	if l.Epoch() != epoch {
		t.Error("the epoch changed")
	}
	// What is left of the newest file is used, then it takes no more.
	w := newWriter(l)
	n := 0
	for ; n < 1000; n++ {
		r := w.record("room", strings.Repeat("n", 100))
		if err := w.append(r); err != nil {
			break
		}
		if committed, err := w.wait(n + 1); err != nil || committed != n+1 {
			break
		}
		want = append(want, r)
	}
	if n == 1000 || !errors.Is(l.Err(), syscall.ENOSPC) {
		t.Fatalf("%d records were taken without a new file, the log says %v", n, l.Err())
	}
	checkRecords(t, "with a fault", readAll(t, l, "room"), want)
	after := config
	after.FS = left.CrashClone(nil)
	checkRecords(t, "after another crash", readAll(t, mustOpen(t, after), "room"), want)
	full.Clear()
	for l.Err() != nil {
		runtime.Gosched()
	}
	w = newWriter(l)
	want = append(want, w.mustAppend(t, "room", "there is room again"))
	w.mustCommit(t, 1)
	checkRecords(t, "with room again", readAll(t, l, "room"), want)
	mustClose(t, l)
	l = mustOpen(t, config)
	checkRecords(t, "opened again", readAll(t, l, "room"), want)
}

// TestCloseOnAFullDisk: a clean end is one also where there is no room to say so in a new file. In the relaxed modes clients would lose their place.
func TestCloseOnAFullDisk(t *testing.T) {
	memory := vfs.NewMemory()
	full := vfs.Faulty(memory)
	config := testConfig(full)
	config.Sync = SyncNever
	l := mustOpen(t, config)
	w := newWriter(l)
	want := []storage.Record{w.mustAppend(t, "room", "m")}
	w.mustCommit(t, 1)
	full.Break(vfs.Fault{Operation: vfs.OpCreate, Call: full.Calls(vfs.OpCreate) + 1, Lasting: true, Err: syscall.ENOSPC})
	mustClose(t, l)
	epoch := l.Epoch()
	full.Clear()
	l = mustOpen(t, config)
	if l.Epoch() != epoch {
		t.Error("the epoch changed")
	}
	checkRecords(t, "opened again", readAll(t, l, "room"), want)
}
