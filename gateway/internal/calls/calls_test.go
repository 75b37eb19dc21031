package calls

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// rig is a Calls whose rooms are the test.
type rig struct {
	calls   *Calls
	mailbox *handoff.Mailbox[handoff.Event]
	refuse  bool

	mu    sync.Mutex // guards all below
	sent  []handoff.Command
	read  []handoff.Read
	asked []handoff.Presence
}

func newRig(t *testing.T) *rig {
	r := &rig{mailbox: handoff.NewMailbox[handoff.Event](1 << 10)}
	r.calls = Start(r, r, r.mailbox, 3)
	t.Cleanup(r.calls.Close)
	return r
}

func (r *rig) Send(c handoff.Command) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, c)
	return !r.refuse
}

func (r *rig) Read(read handoff.Read) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = append(r.read, read)
	return !r.refuse
}

func (r *rig) Ask(p handoff.Presence) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, p)
	return !r.refuse
}

func (r *rig) answer(e handoff.Event) { r.mailbox.PutAlways(e, e.Size) }

func (r *rig) waiting() int {
	r.calls.mu.Lock()
	defer r.calls.mu.Unlock()
	return len(r.calls.waiting)
}

func TestCallsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first, err := r.calls.Send(handoff.Command{Kind: handoff.Publish, Room: "a", ID: 77})
		if err != nil {
			t.Fatal(err)
		}
		second, err := r.calls.Read(handoff.Read{Kind: handoff.HistoryAfter, Room: "a", Codec: proto.JSON})
		if err != nil {
			t.Fatal(err)
		}
		third, err := r.calls.Presence("a")
		if err != nil {
			t.Fatal(err)
		}
		if p := r.asked[0]; p.Kind != handoff.AskPresence || p.From.Loop != 3 || p.ID <= r.read[0].ID || p.Codec != proto.Binary || p.Watch {
			t.Errorf("the keeper of presence was asked %+v", p)
		}
		command, read := r.sent[0], r.read[0]
		if command.From.Loop != 3 || read.To.Loop != 3 || command.ID == 0 || command.ID == read.ID || read.Codec != proto.Binary {
			t.Errorf("the rooms were asked %+v, %+v", command, read)
		}
		// In the other order, with one in between that nobody asked for.
		r.answer(handoff.Event{Kind: handoff.Refused, ID: read.ID, Code: proto.ErrHistoryDamaged, Text: "broken", Size: 10})
		r.answer(handoff.Event{Kind: handoff.Published, ID: 1000, Size: 10})
		r.answer(handoff.Event{Kind: handoff.Published, ID: command.ID, Seq: 5, Size: 10})
		if e, err := first.Wait(t.Context()); err != nil || e.Seq != 5 {
			t.Errorf("the first was answered %+v, %v", e, err)
		}
		r.answer(handoff.Event{Kind: handoff.Told, ID: r.asked[0].ID, Size: 10})
		if _, err := third.Wait(t.Context()); err != nil {
			t.Errorf("the third was answered %v", err)
		}
		_, err = second.Wait(t.Context())
		if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Code != proto.ErrHistoryDamaged || refusal.Text != "broken" {
			t.Errorf("the second was answered %v", err)
		}
		if r.mailbox.Held() != 0 || r.waiting() != 0 {
			t.Errorf("%d bytes and %d calls are held when all are answered", r.mailbox.Held(), r.waiting())
		}
	})
}

func TestCallsThatAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pending, err := r.calls.Send(handoff.Command{Kind: handoff.Publish})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := pending.Wait(ctx); !errors.Is(err, ErrUnanswered) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		if r.waiting() != 0 {
			t.Error("a call that nobody waits for is kept")
		}
		r.answer(handoff.Event{Kind: handoff.Published, ID: r.sent[0].ID, Size: 10}) // too late
		synctest.Wait()
		if r.mailbox.Held() != 0 {
			t.Error("an answer that nobody waits for is kept")
		}
		r.refuse = true
		if _, err := r.calls.Send(handoff.Command{}); !isRefusal(err, proto.ErrOverloaded) {
			t.Errorf("with full rooms: %v", err)
		}
		if _, err := r.calls.Read(handoff.Read{}); !isRefusal(err, proto.ErrOverloaded) || r.waiting() != 0 {
			t.Errorf("with full readers: %v, %d wait", err, r.waiting())
		}
	})
}

func isRefusal(err error, code proto.ErrorCode) bool {
	refusal, ok := errors.AsType[*Refusal](err)
	return ok && refusal.Code == code
}

// TestCloseEndsCalls: an answer that was there before the end is given, and nobody waits for one that does not come.
func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var pending []*Pending
		for range 2 {
			p, err := r.calls.Send(handoff.Command{})
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, p)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := pending[1].Wait(context.Background())
			ended <- err
		}()
		r.answer(handoff.Event{Kind: handoff.Published, ID: r.sent[0].ID, Seq: 9})
		r.calls.Close()
		r.calls.Close()
		if e, err := pending[0].Wait(t.Context()); err != nil || e.Seq != 9 {
			t.Errorf("what was answered before the end: %+v, %v", e, err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("what was not: %v", err)
		}
		if _, err := r.calls.Send(handoff.Command{}); !isRefusal(err, proto.ErrDraining) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestManyCalls has callers that give up at any moment while answers come.
func TestManyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				p, err := r.calls.Send(handoff.Command{After: uint64(i)})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%20)*time.Millisecond)
				defer cancel()
				if e, err := p.Wait(ctx); err == nil && e.Seq != uint64(i) {
					t.Errorf("caller %d was given the answer of %d", i, e.Seq)
				}
			})
		}
		callers.Go(func() {
			for answered := 0; answered < 200; {
				time.Sleep(time.Millisecond) // of the bubble
				r.mu.Lock()
				sent := r.sent[answered:]
				r.mu.Unlock()
				for _, c := range sent {
					r.answer(handoff.Event{Kind: handoff.Published, ID: c.ID, Seq: c.After, Size: 1})
					answered++
				}
			}
		})
		callers.Wait()
		synctest.Wait()
		if r.waiting() != 0 || r.mailbox.Held() != 0 {
			t.Errorf("%d calls and %d bytes are left", r.waiting(), r.mailbox.Held())
		}
	})
}
