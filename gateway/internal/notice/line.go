package notice

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"rookery/gateway/internal/webhook"
)

const (
	// width is how many attempts are made at the same time. Each is a descriptor that no connection gets.
	width = 4
	// patience is how many failures in a row make the keeper leave the application alone but for a single attempt now and then.
	patience    = 3
	longestRest = 5 * time.Minute
	// oldest is for how long a notice is tried again.
	oldest = 24 * time.Hour
	// perRecord is how many notices a record has room for in the numbers of the file.
	perRecord = 4096

	kind = "membership"
)

// letter is a notice that waits, is being sent, or is dead.
type letter struct {
	ID       string          `json:"id"`
	Room     string          `json:"room"`
	Created  int64           `json:"created"` // Unix milliseconds, when it happened
	Attempts int             `json:"attempts,omitempty"`
	Error    string          `json:"error,omitempty"` // of the last attempt
	Body     json.RawMessage `json:"body"`

	number uint64
}

// line is what waits of a room, in order.
type line struct {
	letters []*letter
	next    int64 // the next attempt, Unix milliseconds
}

// job is an attempt.
type job struct {
	line   *line
	letter letter
}

type landing struct {
	line   *line
	answer *webhook.Answer
	err    error
}

// add puts a notice behind what waits of its room.
func (k *Keeper) add(r Record, i int, n Notice) {
	l := &letter{
		ID: fmt.Sprintf("%s_%s-%d-%d", kind, k.cfg.History, r.Number, i), Room: n.Room, Created: r.At, Body: n.Body,
		number: r.Number*perRecord + uint64(i),
	}
	k.store.touch(l)
	k.enqueue(l)
}

func (k *Keeper) enqueue(l *letter) {
	k.waiting++
	if waiting := k.lines[l.Room]; waiting != nil {
		waiting.letters = append(waiting.letters, l)
		return
	}
	fresh := &line{letters: []*letter{l}}
	k.lines[l.Room] = fresh
	k.await(fresh)
}

// await puts a line among those that are due, by time, and by age where that is the same.
func (k *Keeper) await(l *line) {
	at, _ := slices.BinarySearchFunc(k.due, l, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.letters[0].number, b.letters[0].number))
	})
	k.due = slices.Insert(k.due, at, l)
}

// dispatch gives to the senders what is due.
func (k *Keeper) dispatch() {
	now := time.Now().UnixMilli()
	for len(k.due) > 0 && k.due[0].next <= now && k.mayTry(now) {
		l := k.due[0]
		k.due = slices.Delete(k.due, 0, 1)
		k.flying++
		k.jobs <- job{l, *l.letters[0]} // has room for as many as may fly
	}
}

// mayTry reports whether an attempt may be made now.
func (k *Keeper) mayTry(now int64) bool {
	if k.failures >= patience {
		return k.flying == 0 && now >= k.rest
	}
	return k.flying < width
}

// sendLoop is started by Start, width times, and ends with the context.
func (k *Keeper) sendLoop() {
	for {
		select {
		case <-k.context.Done():
			return
		case j := <-k.jobs:
			answer, err := k.send(k.context, &j.letter)
			select {
			case k.landed <- landing{j.line, answer, err}:
			case <-k.context.Done():
				return
			}
		}
	}
}

// send makes one attempt.
func (k *Keeper) send(ctx context.Context, l *letter) (*webhook.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	answer, err := k.cfg.Hook.Post(ctx, l.ID, kind, l.Body)
	if err == nil && !answer.Good() {
		err = answer.Err()
	}
	return answer, err
}

// land takes what has come of an attempt.
func (k *Keeper) land(r landing) {
	k.flying--
	l, now := r.line.letters[0], time.Now().UnixMilli()
	if r.err == nil {
		k.succeed()
		k.counters.sent.Add(1)
		k.done(r.line)
		return
	}
	l.Attempts++
	l.Error = r.err.Error()
	final := r.answer != nil && never(r.answer.Status)
	if final {
		k.succeed() // it answers
	} else {
		k.fail(now, r.err)
	}
	if final || now-l.Created >= oldest.Milliseconds() {
		k.die(l, now)
		k.done(r.line)
		return
	}
	k.counters.failed.Add(1)
	k.store.touch(l)
	wait := webhook.Backoff(l.Attempts)
	if r.answer != nil {
		wait = max(wait, min(r.answer.After, oldest))
	}
	r.line.next = now + wait.Milliseconds()
	k.await(r.line)
}

// never reports whether a status says that the same notice will not be taken at any time. What a receiver may have wrong for a
// while, its address or the secret, is not among them.
func never(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// done goes on with a line behind its first.
func (k *Keeper) done(l *line) {
	first := l.letters[0]
	k.store.remove(first)
	k.waiting--
	l.letters[0] = nil
	l.letters = l.letters[1:]
	if l.next = 0; len(l.letters) == 0 {
		delete(k.lines, first.Room)
		return
	}
	k.await(l)
}

func (k *Keeper) succeed() {
	if k.failures >= patience {
		k.cfg.Logger.Info("the application takes notices of members again", "waiting", k.waiting)
	}
	k.failures = 0
}

func (k *Keeper) fail(now int64, err error) {
	k.failures++
	beyond := k.failures - patience
	if beyond == 0 {
		k.cfg.Logger.Error("the application takes no notices of members; they wait", "waiting", k.waiting, "err", err)
	}
	if beyond >= 0 {
		k.rest = now + min(longestRest, time.Second<<min(beyond, 10)).Milliseconds()
	}
}

// die makes a letter a dead one.
func (k *Keeper) die(l *letter, now int64) {
	k.counters.died.Add(1)
	k.dying.Log(k.cfg.Logger, slog.LevelWarn, "a notice of members can't be delivered; it is among the dead letters", "room", l.Room, "attempts", l.Attempts, "err", l.Error)
	k.store.buried = append(k.store.buried, DeadLetter{ID: l.ID, Room: l.Room, Created: l.Created, Died: now, Attempts: l.Attempts, Error: l.Error, Body: l.Body})
}
