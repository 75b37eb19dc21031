package client

import (
	"context"
	"fmt"

	v1 "rookery/proto/rookery/v1"
)

// Of which messages of a room with members a user is told while away.
const (
	NotifyAll      = "all"
	NotifyMentions = "mentions"
	NotifyNone     = "none"
)

// Notify says of which messages of a room the user is told who has not received them, and returns what is in force. An empty level only
// asks.
func (c *Client) Notify(ctx context.Context, room, level string) (now string, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Notify{Notify: &v1.NotifyPreference{Room: room, Level: level}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		now = reply.GetNotify().GetLevel()
		return reply.GetNotify() != nil
	}))
	if err != nil {
		return "", fmt.Errorf("notify in room %q: %w", room, err)
	}
	return now, nil
}
