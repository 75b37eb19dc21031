package push

import (
	"errors"
	"slices"
	"time"

	"rookery/gateway/internal/handoff"
)

const (
	// What is decided together: the messages of so many rooms, so that a busy room's members are looked at once for all its messages.
	roomsTogether    = 64
	messagesTogether = 10_000
)

var errStopping = errors.New("push is being closed")

// decide gathers what is due, in the order of the log. What fails half way is decided again: who has a message gathered already is not
// given it twice.
func (k *Keeper) decide() error {
	for now := time.Now().UnixMilli(); ; {
		if k.stopping() {
			return errStopping
		}
		n, rooms := k.due(now)
		if n == 0 {
			return nil
		}
		for _, room := range rooms {
			if err := k.decideRoom(room[0].Room, room); err != nil {
				return err
			}
		}
		for i := range k.pending[:n] {
			k.pendingBytes -= k.pending[i].size()
		}
		clear(k.pending[:n])
		if k.pending = k.pending[n:]; len(k.pending) == 0 {
			k.pending = nil // the array of a busy time goes with it
		}
		k.store.moved = true
		// Much of it may be for users who have no device: it is not to take the room of the others.
		if k.waitingBytes > k.cfg.WaitingBytes/2 {
			if err := k.summarize(); err != nil {
				return err
			}
		}
	}
}

// due gives how many of the pending messages are to be decided together, and these by room.
func (k *Keeper) due(now int64) (n int, rooms [][]*pendingMessage) {
	index := make(map[string]int)
	for n < len(k.pending) && n < messagesTogether {
		m := &k.pending[n]
		at, known := index[m.Room]
		if m.due > now || !known && len(rooms) == roomsTogether {
			break
		}
		if !known {
			at = len(rooms)
			index[m.Room] = at
			rooms = append(rooms, nil)
		}
		rooms[at] = append(rooms[at], m)
		n++
	}
	return n, rooms
}

// decideRoom finds who has not received these messages of a room, which ascend.
func (k *Keeper) decideRoom(room string, messages []*pendingMessage) error {
	members, err := k.cfg.Directory.Count(room)
	if err != nil {
		return err
	}
	if members <= k.cfg.RoomMembers {
		return k.cfg.Directory.Each(room, func(user string, m Member) { k.consider(room, messages, user, m) })
	}
	seen := make(map[string]bool)
	for _, message := range messages {
		for _, user := range message.Mentions {
			if seen[user] {
				continue
			}
			seen[user] = true
			m, ok, err := k.cfg.Directory.Member(room, user)
			if err != nil {
				return err
			}
			if ok {
				m.Level = max(m.Level, handoff.NotifyMentions)
				k.consider(room, messages, user, m)
			}
		}
	}
	return nil
}

// consider gathers for a member what they are to be told of these messages.
func (k *Keeper) consider(room string, messages []*pendingMessage, user string, m Member) {
	past := max(m.Delivered, m.From)
	if m.Level == handoff.NotifyNone || messages[len(messages)-1].Seq <= past {
		return
	}
	c := conversation{Room: room}
	for _, message := range slices.Backward(messages) {
		if message.Seq <= past {
			break
		}
		mentioned := slices.Contains(message.Mentions, user)
		if message.From == user || m.Level == handoff.NotifyMentions && !mentioned {
			continue
		}
		if len(c.Seqs) == maxSeqs {
			c.More = true
			break
		}
		c.Seqs = append(c.Seqs, message.Seq)
		if mentioned {
			c.Mentions = append(c.Mentions, message.Seq)
		}
	}
	if len(c.Seqs) > 0 {
		slices.Reverse(c.Seqs)
		slices.Reverse(c.Mentions)
		k.gather(user, c)
	}
}
