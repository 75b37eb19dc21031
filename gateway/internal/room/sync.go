package room

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/changes"
)

// Holdings says what users have, from any goroutine but an event loop's: it may wait.
type Holdings interface {
	// Rooms passes the rooms that a user is a member of, and the plain ones in which the user stands somewhere, in any order, each once.
	Rooms(user string, fn func(room string) bool) error
	// Holding is what a user has in a room, false if the user is no member any more.
	Holding(room, user string) (h Holding, ok bool, err error)
}

// Holding is what a user has in a room.
type Holding struct {
	Membership      *v1.RoomInfo // of a room with members
	From            uint64       // the newest message when the membership began: what is up to it is not unread
	Delivered, Read uint64
}

// syncPassed is how many changes are passed over for the newest messages of a room.
const syncPassed = 200

var errSyncText = errors.New("position and next are what an earlier sync was answered with")

// held is a room of a user, as it was when the page began.
type held struct {
	room  string
	place int64
	head  uint64
}

// byPlace sorts the room first that was written to last.
func byPlace(a, b held) int {
	return cmp.Or(cmp.Compare(b.place, a.place), strings.Compare(a.room, b.room))
}

// syncText are positions of the log that a client gives back. They begin with the epoch: those of another are worth nothing.
//
//	position  epoch/end                  the end of the log when the last page was made
//	next      epoch/end/place/room       the same of this page, and its last room
type syncText struct {
	end  int64
	last held // where next was given
}

func (r *readers) syncText(text string, parts int) (t syncText, ok bool, err error) {
	if text == "" {
		return t, false, nil
	}
	words := strings.SplitN(text, "/", parts)
	if len(words) != parts {
		return t, false, errSyncText
	}
	if t.end, err = strconv.ParseInt(words[1], 10, 64); err != nil {
		return t, false, errSyncText
	}
	if parts == 4 {
		t.last.room = words[3]
		if t.last.place, err = strconv.ParseInt(words[2], 10, 64); err != nil {
			return t, false, errSyncText
		}
	}
	return t, words[0] == r.epoch, nil
}

// sync gives a page of a user's rooms, those that were written to last first.
//
// The order moves while a client reads page after page. So a page has what lies behind the last room of the page before, and
// what was written to since that page was made; nothing is passed over, and something may come twice.
func (r *readers) sync(read handoff.Read) handoff.Event {
	e := handoff.Event{Kind: handoff.Answer, To: read.To, ID: read.ID}
	page, err := r.synced(read)
	switch {
	case errors.Is(err, errSyncText):
		e.Code, e.Text = proto.ErrBadRequest, errSyncText.Error()+"."
	case err != nil:
		e.Code, e.Text = r.report(read, err)
	default:
		e.Frames = proto.AppendServerFrame(make([]byte, handoff.Headroom), read.Codec, &v1.ServerFrame{Id: read.ID, Op: &v1.ServerFrame_Synced{Synced: page}})
	}
	return e
}

func (r *readers) synced(read handoff.Read) (*v1.Synced, error) {
	since, known, err := r.syncText(read.Rooms.Position, 2)
	if err != nil {
		return nil, err
	}
	before, follows, err := r.syncText(read.Rooms.Next, 4)
	if err != nil {
		return nil, err
	}
	// In this order: what is committed after end has its place there or behind it, and what heads count the index has after settle.
	end := r.cfg.Log.End()
	rooms, err := r.held(read)
	if err != nil {
		return nil, err
	}
	if follows {
		rooms = slices.DeleteFunc(rooms, func(h held) bool { return h.place < before.end && byPlace(h, before.last) <= 0 })
	}
	slices.SortFunc(rooms, byPlace)
	if err := r.settle(); err != nil {
		return nil, err
	}
	page := &v1.Synced{Epoch: r.epoch}
	budget := proto.MaxPageBytes
	for i, h := range rooms {
		if i == read.Limit || budget <= 0 {
			last := rooms[i-1]
			page.Next = fmt.Sprintf("%s/%d/%d/%s", r.epoch, end, last.place, last.room)
			return page, nil
		}
		state, err := r.roomState(read, h, !known || h.place >= since.end)
		if err != nil {
			return nil, err
		}
		if state != nil {
			page.Rooms = append(page.Rooms, state)
			budget -= state.SizeVT()
		}
	}
	page.Position = fmt.Sprintf("%s/%d", r.epoch, end)
	return page, nil
}

func (r *readers) held(read handoff.Read) (rooms []held, err error) {
	if r.cfg.Holdings == nil {
		return nil, nil
	}
	err = r.cfg.Holdings.Rooms(read.User, func(room string) bool {
		if read.Rooms.May(room) {
			rooms = append(rooms, held{room, r.cfg.Log.Place(room), r.cfg.Log.Head(room)})
		}
		return true
	})
	return rooms, err
}

// roomState is nil if the user has left the room since.
func (r *readers) roomState(read handoff.Read, h held, changed bool) (*v1.RoomState, error) {
	holding, ok, err := r.cfg.Holdings.Holding(h.room, read.User)
	if err != nil || !ok {
		return nil, err
	}
	state := &v1.RoomState{
		Room: h.room, Membership: holding.Membership, Head: h.head, Begin: r.cfg.Log.Begin(h.room),
		Delivered: holding.Delivered, Read: holding.Read, Changed: changed,
	}
	read.Room = h.room
	return state, r.view(read, func(f *fold) error {
		seen := max(state.Read, holding.From, state.Begin-1)
		if seen < h.head {
			state.Unread = h.head - seen
			if f.view != nil {
				state.Unread -= f.view.Changes(seen, h.head)
				if state.Mentions, err = f.mentions(seen, h.head); err != nil {
					return err
				}
			}
		}
		if changed && read.Rooms.Messages > 0 {
			err := f.newest(h.head, read.Rooms.Messages, state)
			if _, damaged := errors.AsType[*storage.DamagedError](err); damaged {
				r.report(read, err)
				return nil
			}
			return err
		}
		return nil
	})
}

// mentions counts the messages of a part of the room that mention the reader.
func (f *fold) mentions(after, last uint64) (n uint32, err error) {
	for _, seq := range f.view.Mentions(f.read.User, changes.Range{Position: after, Most: proto.MaxMentionCount}) {
		state, _ := f.view.State(seq)
		counts := seq <= last && state.Deleted == 0
		if counts && state.Edit != 0 {
			m := &v1.Message{Room: f.read.Room}
			if err := f.edit(m, state.Edit); err != nil {
				return 0, err
			}
			counts = slices.Contains(m.Mentions, f.read.User)
		}
		if counts {
			n++
		}
	}
	return n, f.view.Err()
}

// newest puts the newest messages up to head into the state of a room.
func (f *fold) newest(head uint64, most int, state *v1.RoomState) error {
	var wrong error
	limit := storage.PageLimit{Records: most + syncPassed, Bytes: proto.MaxPageBytes}
	err := f.log.ReadBefore(f.read.Room, head+1, limit, func(rec storage.Record) bool {
		if speaksOf(rec.Body) != nil {
			return true
		}
		var m *v1.Message
		if m, wrong = f.message(rec); wrong == nil && m == nil {
			m, wrong = decode(rec)
		}
		if wrong != nil {
			return false
		}
		state.Messages = append(state.Messages, m)
		return len(state.Messages) < most
	})
	slices.Reverse(state.Messages)
	return errors.Join(wrong, err)
}
