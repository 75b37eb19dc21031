package loop

import (
	"fmt"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// maxSyncText bounds what a client gives back of an earlier answer: a number or two and the name of a room.
const maxSyncText = 256

// sync asks the readers for a page of the user's rooms.
func (l *Loop) sync(c *conn, id uint64, r *v1.SyncRequest) {
	switch {
	case r.Limit > proto.MaxSyncRooms || r.Messages > proto.MaxSyncMessages:
		l.fail(c, id, proto.ErrBadRequest, fmt.Sprintf("limit is at most %d, messages at most %d.", proto.MaxSyncRooms, proto.MaxSyncMessages))
		return
	case len(r.Position) > maxSyncText || len(r.Next) > maxSyncText:
		l.fail(c, id, proto.ErrBadRequest, "position and next are what an earlier sync was answered with.")
		return
	case c.readings >= maxReadings:
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answers to your earlier requests for history, receipts and rooms.")
		return
	}
	limit := int(r.Limit)
	if limit == 0 {
		limit = proto.MaxSyncRooms
	}
	c.readings++
	l.asking.push(handoff.Read{
		Kind: handoff.Sync, To: c.handle, ID: id, Limit: limit, Codec: c.codec, User: c.identity.User,
		Rooms: &handoff.Rooms{
			Position: strings.Clone(r.Position), Next: strings.Clone(r.Next), Messages: int(r.Messages), May: c.identity.CanJoin,
		},
	})
}
