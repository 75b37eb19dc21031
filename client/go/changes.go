package client

import (
	"context"

	v1 "rookery/proto/rookery/v1"
)

// Op is what a Change does.
type Op int

// The operations. Unknown is one of a newer server: it is passed over.
const (
	Unknown Op = iota
	Edit
	Delete
	React
	Pin
)

// Change is what is done to an earlier message of the room.
type Change struct {
	Target   uint64 // its sequence number
	Op       Op
	Reaction string // of React
	Remove   bool   // of React and Pin: it is taken back
}

// Reaction is what some users think of a message.
type Reaction struct {
	Reaction string
	Count    int
	Users    []string // some of them, ten at most when the server says it
	Own      bool     // this user is one of them
}

// Replies are how many messages a thread has besides the one it begins with, and the newest one's number.
type Replies struct {
	Count int
	Last  uint64
}

func newChange(c *v1.Change) *Change {
	if c == nil {
		return nil
	}
	change := &Change{Target: c.Target}
	switch op := c.Op.(type) {
	case *v1.Change_Edit:
		change.Op = Edit
	case *v1.Change_Delete:
		change.Op = Delete
	case *v1.Change_React:
		change.Op, change.Reaction, change.Remove = React, op.React.GetReaction(), op.React.GetRemove()
	case *v1.Change_Pin:
		change.Op, change.Remove = Pin, op.Pin.GetRemove()
	}
	return change
}

func (c *Change) frame() *v1.Change {
	if c == nil {
		return nil
	}
	frame := &v1.Change{Target: c.Target}
	switch c.Op {
	case Edit:
		frame.Op = &v1.Change_Edit{Edit: &v1.Edit{}}
	case Delete:
		frame.Op = &v1.Change_Delete{Delete: &v1.Delete{}}
	case React:
		frame.Op = &v1.Change_React{React: &v1.React{Reaction: c.Reaction, Remove: c.Remove}}
	case Pin:
		frame.Op = &v1.Change_Pin{Pin: &v1.Pin{Remove: c.Remove}}
	}
	return frame
}

// Edit gives a message of this user another text. Like all changes it is published: it is durable when the call returns, is
// sent again after a lost connection, and comes to the room's members as a message with a Change. To change mentions
// or bytes, publish a Publication with a Change.
func (c *Client) Edit(ctx context.Context, room string, seq uint64, text string) (Published, error) {
	return c.PublishMessage(ctx, Publication{Room: room, Text: text, Change: &Change{Target: seq, Op: Edit}})
}

// Delete takes away what a message said; its number, author and time stay.
func (c *Client) Delete(ctx context.Context, room string, seq uint64) (Published, error) {
	return c.PublishMessage(ctx, Publication{Room: room, Change: &Change{Target: seq, Op: Delete}})
}

// React adds a reaction, an emoji or a short text, or takes it back. The error is a *RequestError named unchanged if it is so already.
func (c *Client) React(ctx context.Context, room string, seq uint64, reaction string, remove bool) (Published, error) {
	change := &Change{Target: seq, Op: React, Reaction: reaction, Remove: remove}
	return c.PublishMessage(ctx, Publication{Room: room, Change: change})
}

// Pin puts a message on the room's list of pinned ones, or takes it off.
func (c *Client) Pin(ctx context.Context, room string, seq uint64, remove bool) (Published, error) {
	return c.PublishMessage(ctx, Publication{Room: room, Change: &Change{Target: seq, Op: Pin, Remove: remove}})
}
