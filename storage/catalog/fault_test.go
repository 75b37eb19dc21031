package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

var errInjected = errors.New("injected")

// TestEndAtEveryCall lets every call to the disk fail once and takes the power away soon after. What was
// acknowledged is there, and no update is there in part.
func TestEndAtEveryCall(t *testing.T) {
	for _, operation := range []vfs.Operation{vfs.OpWrite, vfs.OpSync, vfs.OpRead, vfs.OpCreate} {
		for call := 1; ; call++ {
			memory := vfs.NewMemory()
			faulty := vfs.Faulty(memory)
			logConfig := silent(faulty)
			logConfig.SegmentBytes = 8 << 10
			log := mustOpenLog(t, logConfig)
			c := mustOpen(t, small(log))
			calls := faulty.Calls(operation)
			faulty.Break(vfs.Fault{Operation: operation, Call: calls + call, Err: errInjected})

			acknowledged := map[string]bool{}
			for i := range 25 {
				name := fmt.Sprintf("%03d", i)
				value := []byte(`"` + strings.Repeat("x", 60) + `"`)
				err := c.Update(t.Context(), Set("left\t"+name, value), Set("right\t"+name, value))
				if err == nil {
					acknowledged[name] = true
				}
				var fault *storage.FaultError
				if err != nil && !errors.As(err, &fault) && !errors.Is(err, storage.ErrSequence) {
					t.Fatalf("%v %d: %v", operation, call, err)
				}
			}
			survivor := memory.CrashClone(rand.New(rand.NewPCG(uint64(call), 0)))
			live := content(t, c)
			c.Close()
			_ = log.Close() // fails where the fault is not over

			check := func(what string, got map[string]string) {
				t.Helper()
				for i := range 25 {
					name := fmt.Sprintf("%03d", i)
					left, right := got["left\t"+name] != "", got["right\t"+name] != ""
					if left != right || acknowledged[name] && !left {
						t.Fatalf("%v %d, %s: update %s: left %v, right %v, acknowledged %v", operation, call, what, name, left, right, acknowledged[name])
					}
				}
			}
			check("live", live)
			log = mustOpenLog(t, silent(survivor))
			c = mustOpen(t, small(log))
			check("after the crash", content(t, c))
			c.Close()
			if faulty.Calls(operation) < calls+call {
				if call < 3 && operation != vfs.OpCreate {
					t.Errorf("%v was called only %d times", operation, call)
				}
				break
			}
		}
	}
}

// TestFullDisk: updates fail with the log's error while the disk is full, reading goes on, and then they work again.
func TestFullDisk(t *testing.T) {
	faulty := vfs.Faulty(vfs.NewMemory())
	log := mustOpenLog(t, silent(faulty))
	c := mustOpen(t, small(log))
	mustUpdate(t, c, SetBan("", "mallory", Ban{Reason: "spam"}))
	faulty.Break(vfs.Fault{Operation: vfs.OpWrite, Call: 1, Lasting: true, Err: syscall.ENOSPC})
	err := c.Update(t.Context(), RemoveBan("", "mallory"))
	if _, fault := errors.AsType[*storage.FaultError](err); !fault || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("update on a full disk: %v", err)
	}
	if b, ok, err := c.Ban("", "mallory"); !ok || err != nil || b.Reason != "spam" {
		t.Errorf("ban: %+v, %v, %v", b, ok, err)
	}
	faulty.Break()
	await(t, "the log heals", func() bool { return log.Err() == nil })
	mustUpdate(t, c, RemoveBan("", "mallory"))
	if _, ok, _ := c.Ban("", "mallory"); ok {
		t.Error("the ban is still there")
	}
}

// TestFullMailbox: what does not fit is refused at once, and counted.
func TestFullMailbox(t *testing.T) {
	config := small(mustOpenLog(t, silent(vfs.NewMemory())))
	held, release := make(chan struct{}), make(chan struct{})
	first := true
	config.appended = func(storage.Record) {
		if first {
			first = false
			close(held)
			<-release
		}
	}
	c := mustOpen(t, config)
	failed := make(chan error, 1)
	go func() { failed <- c.Update(context.Background(), Set("a", []byte("1"))) }()
	<-held
	value := []byte(`"` + strings.Repeat("x", maxValue-2) + `"`)
	var updates []*update
	for {
		u, err := newUpdate([]Change{Set("big", value)})
		if err != nil {
			t.Fatal(err)
		}
		if err = c.mailbox.put(u); errors.Is(err, storage.ErrFull) {
			break
		} else if err != nil || len(updates) > maxUpdateBytes/maxValue {
			t.Fatalf("update %d: %v", len(updates), err)
		}
		updates = append(updates, u)
	}
	if err := c.Update(t.Context(), Set("big", value)); !errors.Is(err, storage.ErrFull) {
		t.Errorf("Update: %v", err)
	}
	if n := c.Stats().Refused; n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
	// A caller that gives up is not waited for, and the update still happens.
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error, 1)
	go func() { cancelled <- c.Update(ctx, Set("given-up", []byte("1"))) }()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled update: %v", err)
	}
	close(release)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	for _, u := range updates {
		if err := <-u.done; err != nil {
			t.Error(err)
		}
	}
	mustUpdate(t, c, Set("a", []byte("2")))
}

// TestClose finishes what was taken, and then nothing works any more.
func TestClose(t *testing.T) {
	log := mustOpenLog(t, silent(vfs.NewMemory()))
	c := mustOpen(t, small(log))
	var updates []*update
	for i := range 50 {
		u, err := newUpdate([]Change{Set(fmt.Sprint("later\t", i), []byte("1"))})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.mailbox.put(u); err != nil {
			t.Fatal(err)
		}
		updates = append(updates, u)
	}
	c.Close()
	c.Close()
	for _, u := range updates {
		select {
		case err := <-u.done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("Close did not wait for an update")
		}
	}
	if err := c.Update(t.Context(), Set("a", []byte("1"))); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if _, _, err := c.Retention("lobby"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := c.Walk(func(string, string) bool { return true }); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("walk: %v", err)
	}
	if got := len(content(t, mustOpen(t, small(log)))); got != 50 {
		t.Errorf("%d entries, want 50", got)
	}
}
