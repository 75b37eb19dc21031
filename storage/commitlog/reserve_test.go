package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// fullLog gives a log on a disk that it has filled, with what was acknowledged and a reserve.
func fullLog(t *testing.T, memory *vfs.Memory, config Config, rooms int) (*Log, map[string][]storage.Record) {
	t.Helper()
	l := mustOpen(t, config)
	all := fill(t, l, rooms, 1200)
	l.retention.reserve.keep(l.retention.stop)
	if !l.retention.reserve.there {
		t.Fatal("there is no reserve")
	}
	memory.SetCapacity(memory.Used())
	w := newWriter(l)
	for i := range 1000 {
		r := w.record(fmt.Sprint("room-", i%rooms), strings.Repeat("m", 100))
		r.At = time.Now().UnixMilli()
		if w.append(r) != nil {
			break
		}
		if committed, _ := w.wait(i + 1); committed <= i {
			break
		}
		all[r.Room] = append(all[r.Room], r)
	}
	if !vfs.NoRoom(l.Err()) {
		t.Fatalf("the disk is full, the log says %v", l.Err())
	}
	return l, all
}

func fullDiskConfig(memory *vfs.Memory) Config {
	config := retentionConfig(memory)
	config.SegmentBytes, config.growing, config.HealEvery = 16<<10, false, time.Millisecond
	return config
}

// TestRetentionOnAFullDisk: what is to go makes room, and the log goes on by itself, with all that is to stay.
func TestRetentionOnAFullDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode SyncMode
		keep storage.Retention
		room string // one that keeps all
	}{
		"nearly all goes":      {SyncAlways, storage.Retention{Records: 3}, ""},
		"half of all goes":     {SyncAlways, storage.Retention{Records: 50}, ""},
		"two of three rooms":   {SyncAlways, storage.Retention{Records: 1}, "room-1"},
		"synced by the kernel": {SyncNever, storage.Retention{Records: 3}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := vfs.NewMemory()
			config := fullDiskConfig(memory)
			config.Sync = c.mode
			l, all := fullLog(t, memory, config, 3)
			policy := func(room string) storage.Retention {
				if room == c.room {
					return storage.Retention{}
				}
				return c.keep
			}
			check := func(what string) {
				t.Helper()
				for room, records := range all {
					kept := records[l.Begin(room)-1:]
					if n := policy(room).Records; n > 0 && len(kept) != int(n) || n == 0 && len(kept) != len(records) {
						t.Fatalf("%s: %s has %d of %d", what, room, len(kept), len(records))
					}
					checkRecords(t, what, readAll(t, l, room), kept)
				}
			}
			l.Retain(policy)
			for l.Err() != nil {
				if l.retention.failures.Load() > 20 {
					t.Fatal("retention makes no room")
				}
				ring(l.retention.bell) // as a timer would
				runtime.Gosched()
			}
			check("on the full disk")
			w := newWriter(l)
			for room := range all {
				all[room] = append(all[room], w.mustAppend(t, room, "there is room"))
			}
			w.mustCommit(t, len(all))
			mustClose(t, l)
			memory.SetCapacity(0)
			l = mustOpen(t, config)
			if !l.retention.reserve.there {
				t.Error("there is no reserve any more")
			}
			retain(t, l, policy)
			check("opened again")
		})
	}
}

// TestCrashInTheReserve takes the power away at each call that changes something while retention works in its reserve: every room begins where it
// did or where it was to, nothing that was acknowledged is missing, and the log can be opened and goes on when there is room.
func TestCrashInTheReserve(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, operation := range []vfs.Operation{vfs.OpWrite, vfs.OpSync, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir} {
		for call, hit := 1, true; hit; call++ {
			synctest.Test(t, func(t *testing.T) { hit = crashInTheReserve(t, rng, operation, call) })
		}
	}
}

func crashInTheReserve(t *testing.T, rng *rand.Rand, operation vfs.Operation, call int) (hit bool) {
	policy := func(room string) storage.Retention {
		if room == "room-1" {
			return storage.Retention{}
		}
		return storage.Retention{Records: 10}
	}
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory)
	config := fullDiskConfig(memory)
	config.FS, config.HealEvery = faulty, time.Hour
	l, all := fullLog(t, memory, config, 3)
	synctest.Wait()                           // the fault rang retention, which has no policy yet
	l.retention.bell = make(chan struct{}, 1) // from here on it works in this goroutine only
	faulty.Add(vfs.Fault{Operation: operation, Call: faulty.Calls(operation) + call, Lasting: true, Err: errInjected})
	l.retention.mu.Lock()
	l.retention.policy, l.retention.changed = policy, true
	l.retention.mu.Unlock()
	hit = l.retention.step() != nil
	if !hit && l.retention.rewrites.Load() == 0 {
		t.Fatal("nothing was rewritten")
	}
	check := func(what string) {
		t.Helper()
		for room, records := range all {
			begin := int(l.Begin(room))
			if head := int(l.Head(room)); head < len(records) || begin > len(records)-9 || policy(room) == (storage.Retention{}) && begin > 1 {
				t.Fatalf("%v %d, %s: %s is %d to %d, want %d", operation, call, what, room, begin, head, len(records))
			}
			checkRecords(t, fmt.Sprint(operation, call, what, room), readAll(t, l, room)[:len(records)-begin+1], records[begin-1:])
		}
	}
	check("live")
	crashed := memory.CrashClone(rng)
	_ = l.Close()
	config.FS = crashed
	l = mustOpen(t, config)
	check("after")
	retain(t, l, policy)
	mustClose(t, l)
	l = mustOpen(t, config)
	check("again")
	mustClose(t, l)
	return hit
}

// TestOneSegmentHasNoReserve: there is nothing to rewrite.
func TestOneSegmentHasNoReserve(t *testing.T) {
	memory := vfs.NewMemory()
	l := mustOpen(t, fullDiskConfig(memory))
	l.retention.reserve.keep(l.retention.stop)
	if l.retention.reserve.there {
		t.Errorf("a log of one segment has a reserve:\n%s", memory)
	}
}

// TestNothingTakesTheRoomOfTheReserve: while retention works in it the log does not heal, and no spare is made.
func TestNothingTakesTheRoomOfTheReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.Faulty(vfs.NewMemory())
		l := mustOpen(t, testConfig(faulty))
		faulty.Break(vfs.Fault{Operation: vfs.OpWrite, Call: faulty.Calls(vfs.OpWrite) + 1, Err: syscall.ENOSPC})
		newWriter(l).mustAppend(t, "room", "fails")
		synctest.Wait()
		l.files.supply.room.Lock()
		time.Sleep(10 * healEvery)
		if !vfs.NoRoom(l.Err()) {
			t.Errorf("the log says %v", l.Err())
		}
		if spare, err := l.files.supply.prepare(); !errors.Is(err, errRoomTaken) {
			t.Errorf("a spare: %v, %v", spare, err)
		}
		l.files.supply.room.Unlock()
		time.Sleep(2 * healEvery)
		if err := l.Err(); err != nil {
			t.Errorf("not healed: %v", err)
		}
		mustClose(t, l)
	})
}
