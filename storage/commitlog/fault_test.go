package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

var (
	errInjected = errors.New("injected fault")
	zeroTime    time.Time
)

// faultRun is what two lives of a log came to, the second ending early or never beginning where
// a fault stopped the first.
type faultRun struct {
	records      []storage.Record // appended, in order
	acknowledged int              // how many of them
	openErr      error
	err          error // of the log, nil if no fault came
}

func runUntilFault(t *testing.T, config Config) *faultRun {
	t.Helper()
	run := &faultRun{}
	for life := 0; life < 2 && run.openErr == nil && run.err == nil; life++ {
		run.live(t, config)
	}
	return run
}

func (run *faultRun) live(t *testing.T, config Config) {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		run.openErr = err
		return
	}
	w := newWriter(l)
	before := len(run.records)
	for i := 0; i < 20 && run.err == nil; i++ {
		for range 1 + i%4 {
			r := w.record(fmt.Sprint("room-", i%3), strings.Repeat(string(rune('a'+i)), 100+i))
			if err := w.append(r); err != nil {
				run.err = err
				break
			}
			run.records = append(run.records, r)
		}
		if _, err := w.wait(len(run.records) - before); err != nil {
			run.err = err
		}
	}
	closeErr := l.Close()
	if run.err != nil && !errors.Is(closeErr, run.err) {
		t.Errorf("the log had a fault, Close says %v", closeErr)
	}
	if run.err == nil {
		run.err = closeErr
	}
	committed, _ := w.wait(len(run.records) - before)
	run.acknowledged += committed
}

// TestEveryFault lets each call of each operation fail in turn, in every mode, with the process
// ending in a power loss afterwards. Nothing acknowledged is lost (in SyncAlways) and the log
// opens again by itself.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	kinds := map[string]vfs.Fault{
		"write":          {Operation: vfs.OpWrite},
		"write in part":  {Operation: vfs.OpWrite, Short: 100},
		"write, no room": {Operation: vfs.OpWrite, Short: 7, Err: syscall.ENOSPC, Lasting: true},
		"sync":           {Operation: vfs.OpSync},
		"create":         {Operation: vfs.OpCreate},
		"rename":         {Operation: vfs.OpRename},
		"sync directory": {Operation: vfs.OpSyncDir},
		"make directory": {Operation: vfs.OpMkdir},
		"lock":           {Operation: vfs.OpLock},
		"list":           {Operation: vfs.OpList},
		"open":           {Operation: vfs.OpOpen},
		"read":           {Operation: vfs.OpRead},
		"remove":         {Operation: vfs.OpRemove},
	}
	for name, fault := range kinds {
		for _, mode := range []SyncMode{SyncAlways, SyncNever} {
			fault := fault // each of the two that run beside each other changes its own
			t.Run(name+" "+mode.String(), func(t *testing.T) {
				t.Parallel()
				counting := vfs.Faulty(vfs.NewMemory())
				config := testConfig(counting)
				config.SegmentBytes, config.Sync = minSegmentBytes, mode
				if run := runUntilFault(t, config); run.err != nil || run.openErr != nil || run.acknowledged != len(run.records) {
					t.Fatalf("without a fault: %v, %v", run.openErr, run.err)
				}
				calls := counting.Calls(fault.Operation)
				if calls == 0 {
					t.Fatal("the run never calls it")
				}
				if fault.Err == nil {
					fault.Err = errInjected
				}
				for fault.Call = 1; fault.Call <= calls; fault.Call++ {
					oneFault(t, config, fault)
				}
			})
		}
	}
}

func oneFault(t *testing.T, config Config, fault vfs.Fault) {
	t.Helper()
	memory := vfs.NewMemory()
	config.FS = vfs.Faulty(memory, fault)
	run := runUntilFault(t, config)
	switch {
	case run.openErr != nil && !errors.Is(run.openErr, fault.Err):
		t.Fatalf("call %d: Open: got %v, want the fault", fault.Call, run.openErr)
	case run.err != nil && !errors.Is(run.err, fault.Err):
		t.Fatalf("call %d: got %v, want the fault", fault.Call, run.err)
	}
	rng := rand.New(rand.NewPCG(uint64(fault.Call), 0))
	for range 3 {
		config.FS = memory.CrashClone(rng)
		l, err := Open(config)
		if err != nil {
			t.Fatalf("call %d: open after the crash: %v", fault.Call, err)
		}
		found := recent(t, l, zeroTime, 1<<30)
		if len(found) > len(run.records) || config.Sync == SyncAlways && len(found) < run.acknowledged {
			t.Fatalf("call %d: %d records after the crash, %d were acknowledged, %d appended", fault.Call, len(found), run.acknowledged, len(run.records))
		}
		checkRecords(t, "after the crash", found, run.records[:len(found)])
		mustClose(t, l)
	}
}

// TestPagesForgottenByAFailedSync is the reason for recovery.rewriteTail: the sync fails, the
// process starts anew without a crash, reads the records from memory, acknowledges more behind
// them, and only then the power goes. Both must be there.
func TestPagesForgottenByAFailedSync(t *testing.T) {
	t.Parallel()
	memory := vfs.NewMemory()
	counting := vfs.Faulty(memory)
	config := testConfig(counting)
	mustClose(t, mustOpen(t, config))
	opened := counting.Calls(vfs.OpSync) - 2 // Close syncs the checkpoint and META; the first is where the record's will be

	memory = vfs.NewMemory()
	config.FS = vfs.Faulty(memory, vfs.Fault{Operation: vfs.OpSync, Call: opened + 1, Err: syscall.EIO})
	l := mustOpen(t, config)
	w := newWriter(l)
	lost := w.mustAppend(t, "room", strings.Repeat("never acknowledged ", 200))
	if committed, err := w.wait(1); committed != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %d committed, %v, want the injected fault", committed, err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Close: %v", err)
	}
	config.FS = memory
	l = mustOpen(t, config)
	checkRecords(t, "read back from memory", readAll(t, l, "room"), []storage.Record{lost})
	w = newWriter(l)
	next := w.mustAppend(t, "room", "acknowledged")
	w.mustCommit(t, 1)
	for seed := range uint64(50) {
		config.FS = memory.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		after := mustOpen(t, config)
		checkRecords(t, "after the power loss", readAll(t, after, "room"), []storage.Record{lost, next})
		mustClose(t, after)
	}
}

// TestReadFault is a device that fails one read: the caller hears of it, the log goes on.
func TestReadFault(t *testing.T) {
	faulty := vfs.Faulty(vfs.NewMemory(), vfs.Fault{Operation: vfs.OpRead, Call: 2, Err: syscall.EIO})
	l := mustOpen(t, testConfig(faulty)) // call 1 finds no META to read and none is made
	w := newWriter(l)
	r := w.mustAppend(t, "room", "body")
	w.mustCommit(t, 1)
	failed := 0
	for range 4 {
		if err := l.ReadAfter("room", 0, storage.PageLimit{}, func(storage.Record) bool { return true }); errors.Is(err, syscall.EIO) {
			failed++
		}
	}
	if failed != 1 || l.Err() != nil {
		t.Errorf("%d reads failed, the log's error is %v; want 1 and nil", failed, l.Err())
	}
	checkRecords(t, "afterwards", readAll(t, l, "room"), []storage.Record{r})
}
