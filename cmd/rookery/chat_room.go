package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	client "rookery/client/go"
)

// visit is one stay in a room: old messages, then new ones, until leave.
type visit struct {
	// Set at construction.
	talk   *talk
	name   string
	cancel context.CancelFunc
	ended  chan struct{}
	errors chan error    // why the room could not be joined, or had to be left
	news   chan struct{} // seen has changed

	// Guarded by mu.
	mu    sync.Mutex
	seen  uint64   // last message shown
	head  uint64   // newest message on entering
	ready bool     // joined, so that head is known
	own   []string // typed here and not yet come back, so that it is not shown twice
}

func (t *talk) visit(ctx context.Context, name string) *visit {
	ctx, cancel := context.WithCancel(ctx)
	v := &visit{
		talk: t, name: name, cancel: cancel,
		ended: make(chan struct{}), errors: make(chan error, 1), news: make(chan struct{}, 1),
	}
	go func() {
		defer close(v.ended)
		if err := v.follow(ctx); err != nil && ctx.Err() == nil {
			v.errors <- err
		}
	}()
	return v
}

// leave ends the stay. Works on nil.
func (v *visit) leave() {
	if v != nil {
		v.cancel()
		<-v.ended
	}
}

// refused gives the reason why the stay has ended by itself. Works on nil.
func (v *visit) refused() <-chan error {
	if v == nil {
		return nil
	}
	return v.errors
}

// follow is run by visit until leave.
func (v *visit) follow(ctx context.Context) error {
	after, head, err := lastMessages(ctx, v.talk.client, v.name, chatHistory)
	if err != nil {
		return err
	}
	room, err := v.talk.client.Join(ctx, v.name, client.JoinOptions{After: after})
	if err != nil {
		return err
	}
	defer room.Leave()
	v.entered(after.Seq, head)
	for message, err := range room.Messages(ctx) {
		var reset *client.ResetError
		var gap *client.GapError
		switch {
		case errors.As(err, &gap):
			v.talk.display.note(safe(gap.Error()))
			v.progress(gap.Last)
		case errors.As(err, &reset):
			v.talk.display.note(safe(reset.Error()))
			v.progress(reset.New.Seq)
		case err != nil:
			return err
		case message.Ephemeral:
			// Among stored messages it is a cursor or "is typing", and not what was said.
			if room.Ephemeral() && !v.isOwn(message) {
				v.talk.display.message(message)
			}
		default:
			if !v.isOwn(message) {
				v.talk.display.message(message)
			}
			v.progress(message.Seq)
		}
	}
	return nil
}

func (v *visit) entered(seen, head uint64) {
	v.mu.Lock()
	v.head, v.ready = head, true
	v.mu.Unlock()
	v.progress(seen)
}

func (v *visit) progress(seq uint64) {
	v.mu.Lock()
	v.seen = seq
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// shown waits until message seq, and what was there on entering, is on the display.
func (v *visit) shown(ctx context.Context, seq uint64) error {
	if v == nil {
		return nil
	}
	for {
		v.mu.Lock()
		done := v.ready && v.seen >= max(seq, v.head)
		v.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-v.news:
		case err := <-v.errors:
			return err
		case <-v.talk.client.Done():
			return v.talk.client.Err()
		case <-ctx.Done():
			return fmt.Errorf("the gateway did not send the messages of room %q within %s", v.name, chatFinish)
		}
	}
}

// typed is for a line that already stands on the screen.
func (v *visit) typed(text string) {
	v.mu.Lock()
	v.own = append(v.own, text)
	v.mu.Unlock()
}

// untyped is for one that could not be sent.
func (v *visit) untyped(text string) { v.take(text) }

func (v *visit) take(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.Index(v.own, text)
	if i < 0 {
		return false
	}
	v.own = slices.Delete(v.own, i, i+1)
	return true
}

// isOwn reports whether a message was typed here.
func (v *visit) isOwn(m client.Message) bool {
	return m.From == v.talk.userName() && m.Data == nil && v.take(m.Text)
}
