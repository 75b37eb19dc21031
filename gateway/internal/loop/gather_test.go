package loop

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// TestRoomsThatGather: what comes within a window leaves in one write, in order, when it closes; other rooms do not wait.
func TestRoomsThatGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Window = func(room string) time.Duration {
				if window, ok := strings.CutPrefix(room, "gathers-"); ok {
					d, _ := time.ParseDuration(window)
					return d
				}
				return 0
			}
		})
		s := r.open(true, proto.Binary)
		for _, room := range []string{"gathers-50ms", "gathers-20ms", "at-once"} {
			r.join(s, room, 0)
		}
		deliver := func(room string, seq uint64) {
			r.deliver(room, seq)
			r.work()
		}
		deliver("gathers-50ms", 1)
		if r.ringsIn != 50*time.Millisecond {
			t.Errorf("the loop is rung in %v", r.ringsIn)
		}
		deliver("gathers-20ms", 1)
		if r.ringsIn != 20*time.Millisecond {
			t.Errorf("with a shorter window the loop is rung in %v", r.ringsIn)
		}
		deliver("at-once", 1)
		if got := seqs(r.sent(s)); len(got) != 1 {
			t.Fatalf("%d messages left while two rooms gather", len(got))
		}
		time.Sleep(20 * time.Millisecond)
		deliver("gathers-50ms", 2)
		if got := seqs(r.sent(s)); len(got) != 1 || r.ringsIn != 30*time.Millisecond {
			t.Errorf("%d messages left when the first window closed, the next closes in %v", len(got), r.ringsIn)
		}
		before := s.writes
		time.Sleep(30 * time.Millisecond)
		r.work()
		r.mustGet(s, upTo(1, 2))
		if s.writes != before+1 {
			t.Errorf("what gathered left in %d writes", s.writes-before)
		}
		// A member that goes while its room gathers, and a room that is dropped meanwhile.
		deliver("gathers-50ms", 3)
		r.events.Close(s)
		time.Sleep(time.Second)
		r.work()
		if r.loop.load.windows != 0 || len(r.loop.gathering) != 0 || r.loop.busy.len() != 0 || r.loop.inbox.Held() != 0 {
			t.Errorf("%d gather, %d are busy, %d bytes are held", len(r.loop.gathering), r.loop.busy.len(), r.loop.inbox.Held())
		}
	})
}

// TestWhatIsMoreThanABatchGathersOnce: what leaves in a second piece has waited already.
func TestWhatIsMoreThanABatchGathersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](32 << 20)}
			c.Window = func(string) time.Duration { return time.Second }
		})
		s := r.open(true, proto.Binary)
		r.join(s, "r", 0)
		last := uint64(2 * batchBytes / len(encoded("r", 1).Frame(proto.Binary)))
		for seq := uint64(1); seq <= last; seq++ {
			r.deliver("r", seq)
		}
		r.work()
		time.Sleep(time.Second)
		r.work()
		r.mustGet(s, upTo(1, last))
		if r.loop.load.windows != 0 || r.loop.load.gathering != 0 {
			t.Errorf("%d bytes gather in %d rooms when all has left", r.loop.load.gathering, r.loop.load.windows)
		}
	})
}
