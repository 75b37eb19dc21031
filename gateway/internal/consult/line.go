package consult

import (
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// event is what an application is asked about.
type event uint8

// Events, in the order of EventNames.
const (
	connectEvent event = iota
	publishEvent
	events
)

// EventNames gives the events by their index in Stats.
func EventNames() []string { return []string{"connect", "publish"} }

// question is one that waits for its answer.
type question struct {
	event   event
	connect handoff.Connect
	command handoff.Command
	size    int
	first   time.Time // since when it is the first of its line
}

// line is what waits of one publisher in one room, the first of it being asked about or ready to be. A connect is a line by itself.
type line struct {
	of        publisher
	questions []question
}

type publisher struct{ room, user string }

// put has a question wait.
func (k *Keeper) put(q question) *handoff.Refusal {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return draining()
	}
	if k.waitingBytes+q.size > k.cfg.WaitingBytes {
		k.counted[q.event].overloaded.Add(1)
		return &handoff.Refusal{Code: proto.ErrOverloaded, Text: "Too much waits for the application of this server; send again later.", Wait: again}
	}
	k.waitingBytes += q.size
	k.waiting++
	if q.event == publishEvent {
		of := publisher{q.command.Room, q.command.User}
		if l := k.lines[of]; l != nil {
			l.questions = append(l.questions, q)
			return nil
		}
		l := &line{of: of, questions: []question{q}}
		k.lines[of] = l
		k.makeReadyLocked(l)
		return nil
	}
	k.makeReadyLocked(&line{questions: []question{q}})
	return nil
}

func draining() *handoff.Refusal {
	return &handoff.Refusal{Code: proto.ErrDraining, Text: "The server is shutting down; send again elsewhere or later."}
}

func (k *Keeper) makeReadyLocked(l *line) {
	l.questions[0].first = time.Now()
	k.ready = append(k.ready, l)
	k.wake.Signal()
}

// take gives the line whose first question is to be asked next, and that question; false when the keeper is closed.
func (k *Keeper) take() (l *line, q question, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.ready) == 0 && !k.closed {
		k.wake.Wait()
	}
	if k.closed {
		return nil, q, false
	}
	l = k.ready[0]
	k.ready[0] = nil
	k.ready = k.ready[1:]
	return l, l.questions[0], true
}

// answered goes on with the line behind its first question.
func (k *Keeper) answered(l *line) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waitingBytes -= l.questions[0].size
	k.waiting--
	l.questions[0] = question{}
	l.questions = l.questions[1:]
	switch {
	case len(l.questions) > 0:
		k.makeReadyLocked(l)
	case k.lines[l.of] == l:
		delete(k.lines, l.of)
	}
}

// leave takes nothing more, and gives all questions that nobody is asking, for Close.
func (k *Keeper) leave() (left []question) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.wake.Broadcast()
	for _, l := range k.ready {
		left = append(left, l.questions...)
		delete(k.lines, l.of)
	}
	k.ready = nil
	for _, l := range k.lines { // of these the first is being asked
		left = append(left, l.questions[1:]...)
		l.questions = l.questions[:1]
	}
	for i := range left {
		k.waitingBytes -= left[i].size
		k.waiting--
	}
	return left
}
