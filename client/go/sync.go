package client

import (
	"context"
	"fmt"

	v1 "rookery/proto/rookery/v1"
)

// SyncQuery asks for a page of the rooms of the user.
type SyncQuery struct {
	Position string // of an earlier sync: rooms in which nothing was said since come without messages
	Next     string // of the page before
	Limit    int    // rooms, 1 to 1000; 0: 1000
	Messages int    // newest messages of each room, at most 20; 0: none
}

// SyncPage is an answer to Sync, the rooms that were written to last first.
type SyncPage struct {
	Epoch    string
	Rooms    []RoomState
	Next     string // not empty: there is a page behind this one. A room that was written to meanwhile may come again
	Position string // of the last page: where to go on from at the next sync
}

// RoomState is a room as a user finds it who comes back.
type RoomState struct {
	Room            string
	Membership      *RoomInfo // nil in a room without members
	Head, Begin     uint64    // newest message; oldest that is still there, Head+1 if none is
	Delivered, Read uint64    // how far the user has come
	Unread          uint64    // messages behind Read that are still there; changes are none
	Mentions        int       // how many of them mention the user, at most 100
	Changed         bool      // something was said behind the position that was asked with
	Messages        []Message // the newest, ascending; only where Changed
}

// Sync reads a page of all rooms that the user is a member of, and of the plain ones in which the user has marked something.
func (c *Client) Sync(ctx context.Context, query SyncQuery) (page SyncPage, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Sync{Sync: &v1.SyncRequest{
		Position: query.Position, Next: query.Next, Limit: uint32(query.Limit), Messages: uint32(query.Messages),
	}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		answer := reply.GetSynced()
		if answer == nil {
			return false
		}
		page = SyncPage{Epoch: answer.Epoch, Next: answer.Next, Position: answer.Position}
		for _, s := range answer.Rooms {
			page.Rooms = append(page.Rooms, newRoomState(s))
		}
		return true
	}))
	if err != nil {
		return SyncPage{}, fmt.Errorf("sync: %w", err)
	}
	return page, nil
}

func newRoomState(s *v1.RoomState) RoomState {
	state := RoomState{
		Room: s.Room, Head: s.Head, Begin: s.Begin, Delivered: s.Delivered, Read: s.Read,
		Unread: s.Unread, Mentions: int(s.Mentions), Changed: s.Changed,
	}
	if s.Membership != nil {
		state.Membership = newRoomInfo(s.Membership)
	}
	for _, m := range s.Messages {
		state.Messages = append(state.Messages, newMessage(m))
	}
	return state
}
