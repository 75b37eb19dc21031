package room

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage"
)

// strictLog takes of a room only the number that follows, as the real one does.
type strictLog struct {
	*fakeLog
	next uint64
}

func (l *strictLog) Open(committed func(n int, err error)) Producer {
	l.fakeLog.Open(committed)
	return l
}

func (l *strictLog) Append(r storage.Record) error {
	if r.Seq != l.next {
		return fmt.Errorf("append %d where %d follows: %w", r.Seq, l.next, storage.ErrSequence)
	}
	l.next++
	return l.fakeLog.Append(r)
}

// TestARoomGoesOnBehindAFault that failed several batches, whatever the shard comes to before it has heard of the last: a log heals
// while the mailbox is long.
func TestARoomGoesOnBehindAFault(t *testing.T) {
	fault := &storage.FaultError{Op: "write", Path: "x", Err: errors.New("no space")}
	for name, steps := range map[string]string{
		"between two batches":     "pp hfpfp",
		"behind both":             "pp hffp",
		"before both":             "pp hpffp",
		"everywhere":              "pp hpfpfp",
		"behind a commit":         "pcpp hfpfp",
		"two faults":              "pp hfpf pp hfpfp",
		"what was taken is there": "pp hffpc hpcp",
	} {
		t.Run(name, func(t *testing.T) {
			loop := handoff.NewMailbox[handoff.Event](1 << 20)
			log := &strictLog{fakeLog: newFakeLog(), next: 1}
			s := newShard(Config{Log: log, Loops: []*handoff.Mailbox[handoff.Event]{loop}, RetryKeys: 100, Now: time.Now})
			s.open(&letter{command: handoff.Command{Kind: handoff.Join, ID: 1000, Room: "lobby"}}) // so that the room is kept
			last := uint64(0)
			for _, step := range steps {
				switch step {
				case 'p': // a publish
					last++
					s.open(&letter{command: handoff.Command{Kind: handoff.Publish, ID: last, Room: "lobby", User: "a", Content: []byte{0x2a, 1, 'x'}}})
				case 'f': // the shard hears that a flight has failed
					if s.flights.empty() {
						t.Fatal("a publish was refused that was to be taken: none is left that could fail")
					}
					s.open(&letter{committed: 1, err: fault})
				case 'h': // the log has failed what waits, and takes appends again
					log.waiting, log.next = nil, log.Head("lobby")+1
				case 'c': // the log commits
					log.records["lobby"] = append(log.records["lobby"], log.waiting[0])
					log.waiting = log.waiting[1:]
					s.open(&letter{committed: 1})
				}
			}
			for len(log.waiting) > 0 {
				log.records["lobby"] = append(log.records["lobby"], log.waiting[0])
				log.waiting = log.waiting[1:]
				s.open(&letter{committed: 1})
			}
			s.out.Send()
			answered := uint64(0)
			for _, e := range loop.Take(nil) {
				switch {
				case e.Kind == handoff.Published && e.ID == last:
					answered = e.Seq
				case e.Kind == handoff.Refused && e.ID == last:
					t.Errorf("the last publish was refused with %v", e.Code)
				case e.Kind == handoff.Refused && e.Code != proto.ErrLogUnavailable:
					t.Errorf("publish %d was refused with %v", e.ID, e.Code)
				}
			}
			if r := s.rooms["lobby"]; answered != log.Head("lobby") || r.next != r.head || r.head != answered {
				t.Errorf("the last publish is number %d of %d; the room gave out %d and holds %d", answered, log.Head("lobby"), r.next, r.head)
			}
		})
	}
}
