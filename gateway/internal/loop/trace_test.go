package loop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// traced has the loop look at a user.
func (r *rig) traced(user string) (*handoff.Trace, func()) {
	r.t.Helper()
	r.loop.engine.loops.Store(&[]*Loop{r.loop})
	trace, end, err := r.loop.engine.Trace(user)
	if err != nil {
		r.t.Fatal(err)
	}
	r.work()
	return trace, end
}

// lines are the entries of a trace, short.
func lines(trace *handoff.Trace) (all []string, dropped int64) {
	entries, dropped := trace.Take()
	for _, e := range entries {
		all = append(all, fmt.Sprint(e.Direction, " ", e.Operation, " ", e.Room, " ", e.ID, " ", e.Seq, " ", e.Error))
	}
	return all, dropped
}

// TestTraceTellsWhatIsDoneAndNotWhatIsSaid: in each transport and codec.
func TestTraceTellsWhatIsDoneAndNotWhatIsSaid(t *testing.T) {
	for name, wire := range map[string]struct {
		stream bool
		codec  proto.Codec
	}{"tcp": {true, proto.Binary}, "binary": {false, proto.Binary}, "json": {false, proto.JSON}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.openAs("alice", wire.stream, wire.codec)
			other := r.openAs("bob", wire.stream, wire.codec)
			trace, end := r.traced("alice")
			r.join(s, "lobby", 0)
			r.join(other, "lobby", 0)
			text := "what alice says " + strings.Repeat("x", 300)
			for _, who := range []*fakeSocket{s, other} {
				r.request(who, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
					Room: "lobby", Key: "a secret key", Content: &v1.Publish_Text{Text: text},
				}}})
			}
			r.put(handoff.Event{Kind: handoff.Published, To: s.context.(*conn).handle, ID: 3, Room: "lobby", Seq: 1, At: 1})
			r.deliver("lobby", 1)
			r.work()
			r.request(s, &v1.ClientFrame{Id: 4, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "a secret\nroom"}}})
			r.request(s, &v1.ClientFrame{Id: 5, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice", Token: "a secret token"}}})
			late := r.openAs("alice", wire.stream, wire.codec)
			r.events.Close(late)
			entries, dropped := trace.Take()
			if dropped != 0 {
				t.Errorf("%d were dropped", dropped)
			}
			written, err := json.Marshal(entries)
			if err != nil {
				t.Fatal(err)
			}
			for _, hidden := range []string{"alice says", "xxx", "secret", "lobby 1"} {
				if strings.Contains(string(written), hidden) {
					t.Errorf("%q is in the trace: %s", hidden, written)
				}
			}
			var got []string
			for _, e := range entries {
				got = append(got, fmt.Sprint(e.Direction, " ", e.Operation, " ", e.Room, " ", e.ID, " ", e.Seq, " ", e.Error))
				if e.Session == "" || e.At.IsZero() || e.Operation == "publish" && e.Bytes < len(text) || e.Direction != "ended" && e.Bytes == 0 {
					t.Errorf("an entry is %+v", e)
				}
			}
			want := []string{
				"in join lobby 2 0 ", "out joined lobby 2 0 ",
				"in publish lobby 3 0 ", "out published lobby 3 1 ", "out message lobby 0 1 ",
				"in join  4 0 ", "out error  4 0 bad_request",
				"in connect  5 0 ", "out connected  5 0 ",
				"out connected  1 0 ", "ended   0 0 peer",
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("the trace says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			end()
			r.work()
			r.request(s, &v1.ClientFrame{Id: 6, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			if after, _ := lines(trace); len(after) != 0 || s.context.(*conn).traced {
				t.Errorf("after its end it says %v", after)
			}
		})
	}
}

func TestTracesAreBounded(t *testing.T) {
	r := newRig(t, nil)
	r.loop.engine.loops.Store(&[]*Loop{r.loop})
	var ends []func()
	for i := range maxTraces {
		_, end, err := r.loop.engine.Trace(fmt.Sprint("user-", i))
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if _, _, err := r.loop.engine.Trace("one more"); err != ErrTraces {
		t.Errorf("one more: %v", err)
	}
	ends[1]()
	if _, _, err := r.loop.engine.Trace("user-0"); err != ErrTraced {
		t.Errorf("a second of one user: %v", err)
	}
	r.work()
	trace, _ := r.traced("alice")
	s := r.openAs("alice", true, proto.Binary)
	for id := range uint64(500) {
		r.request(s, &v1.ClientFrame{Id: id + 1, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	}
	got, dropped := lines(trace)
	// Beside the frames there is the answer to the connect.
	if len(got) != 256 || int(dropped) != 1+2*500-256 {
		t.Errorf("%d entries, %d dropped", len(got), dropped)
	}
	r.request(s, &v1.ClientFrame{Id: 501, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if got, dropped := lines(trace); len(got) != 2 || dropped != 0 {
		t.Errorf("then %d entries, %d dropped", len(got), dropped)
	}
}

// TestTracedConnectionsAreFoundInSlices: also those beyond a slice, and when another trace begins in the middle.
func TestTracedConnectionsAreFoundInSlices(t *testing.T) {
	r := newRig(t, nil)
	r.loop.engine.loops.Store(&[]*Loop{r.loop})
	first := r.openAs("alice", true, proto.Binary)
	for range 2*sweepSlots + 10 {
		r.open(true, proto.Binary)
	}
	last := r.openAs("zoe", true, proto.Binary)
	if _, _, err := r.loop.engine.Trace("zoe"); err != nil {
		t.Fatal(err)
	}
	r.rung = false
	r.loop.work()
	if !r.rung || last.context.(*conn).traced {
		t.Fatalf("the whole table was looked at in one turn")
	}
	if _, _, err := r.loop.engine.Trace("alice"); err != nil {
		t.Fatal(err)
	}
	r.work()
	for name, s := range map[string]*fakeSocket{"alice": first, "zoe": last} {
		if !s.context.(*conn).traced {
			t.Errorf("%s was not found", name)
		}
	}
}
