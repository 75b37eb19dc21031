package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/push"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/catalog"
	"rookery/storage/changes"
	"rookery/storage/commitlog"
)

// PushConfig says who is told outside of connections that messages wait for them, docs/push.md. Without a sender it is off.
type PushConfig struct {
	// Webhook is where summaries are sent: https://host/path, or http:// of this machine. Default empty, off.
	Webhook string
	// Secret signs the requests: whsec_ and 24 to 64 bytes in base64. Default none; a Webhook needs one.
	Secret Secret
	// After is how long a message may be undelivered before its member is told. Default 30 s.
	After time.Duration
	// Window is the least time between two summaries of a user. Default 5 min.
	Window time.Duration
	// RoomMembers: in rooms of more members only who is mentioned is told. Default 1000.
	RoomMembers int
	// Text puts the newest message's text into summaries. Default false: what is said stays on this server.
	Text bool
}

// fault says what keeps the settings from working together, and which is to blame; "" is nothing.
func (c PushConfig) fault() (setting, reason string) {
	if c.Webhook == "" {
		return "", ""
	}
	if err := push.CheckWebhook(c.Webhook); err != nil {
		return "push.webhook", err.Error()
	}
	if err := push.CheckSecret(string(c.Secret)); err != nil {
		return "push.secret", err.Error()
	}
	return "", ""
}

// startPush starts push, nil if nothing is to be sent anywhere.
func (s *Server) startPush(kind func(room string) handoff.RoomKind, standing standings) (*push.Keeper, error) {
	c := s.cfg.Push
	if c.Webhook == "" {
		return nil, nil
	}
	hook, err := push.NewWebhook(c.Webhook, string(c.Secret))
	if err != nil {
		return nil, err
	}
	keeper, err := push.Start(push.Config{
		Log:         &pushLog{log: s.store, changes: s.changes, kind: kind, receipts: s.cfg.Rooms.receipts, logger: s.log},
		History:     fmt.Sprintf("%x-%s", s.store.LogID(), standing.epoch),
		Directory:   pushDirectory{s.catalog, standing},
		Senders:     []push.Destination{{Kind: "webhook", Sender: hook, OneHost: true}},
		Dir:         filepath.Join(s.cfg.Data, "push"),
		Logger:      s.log,
		After:       c.After,
		Window:      c.Window,
		RoomMembers: c.RoomMembers,
		Text:        c.Text,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (setting data)", err)
	}
	return keeper, nil
}

// stopPush ends push, which reads the catalog and the log.
func (s *Server) stopPush() {
	if s.push == nil {
		return
	}
	if err := s.push.Close(); err != nil {
		s.log.Error("push was not closed cleanly; what it did last may be done again", "err", err)
	}
}

// pushStats are zero while push is off.
func (s *Server) pushStats() push.Stats {
	if s.push == nil {
		return push.Stats{}
	}
	return s.push.Stats()
}

// pushLog is the log as push reads it. Read belongs to one goroutine.
type pushLog struct {
	log      *commitlog.Log
	changes  *changes.Index
	kind     func(room string) handoff.RoomKind
	receipts func(room string) bool
	logger   *slog.Logger

	tail *commitlog.Tail
}

// pushStep is how much of the log is read before push looks for something else to do.
const pushStep = 8 << 20

func (l *pushLog) End() int64 { return l.log.End() }

func (l *pushLog) Read(from int64, each func(push.Message) bool) (int64, error) {
	if l.tail == nil || l.tail.Next() != from {
		l.tail = l.log.NewTail(from)
	}
	err := l.tail.Read(func(at int64, r storage.Record) bool {
		more := at-from < pushStep
		if m, ok := l.message(at, r); ok {
			more = each(m) && more
		}
		return more
	}, func(damage *storage.CorruptionError) {
		l.logger.Warn("push passes over what the log has lost", "path", damage.Path, "offset", damage.Offset)
	})
	return l.tail.Next(), err
}

// message gives a record of which members may have to be told: in a room with members that knows what they have received.
func (l *pushLog) message(at int64, r storage.Record) (m push.Message, ok bool) {
	if strings.HasPrefix(r.Room, "\x01") || l.kind(r.Room) == handoff.Plain || !l.receipts(r.Room) {
		return m, false
	}
	m = push.Message{Place: at, Room: strings.Clone(r.Room), Seq: r.Seq, At: r.At, From: strings.Clone(r.From)}
	if proto.Plain(r.Body) {
		return m, true
	}
	var content v1.Message
	if content.UnmarshalVT(r.Body) != nil || content.Change != nil {
		return m, false
	}
	m.Mentions = content.Mentions
	return m, true
}

func (l *pushLog) Alive(name string, seqs []uint64) (alive []uint64, err error) {
	begin := l.log.Begin(name)
	err = l.changes.View(name, func(view *changes.View) error {
		alive = nil
		for _, seq := range seqs {
			if state, _ := view.State(seq); seq >= begin && state.Deleted == 0 {
				alive = append(alive, seq)
			}
		}
		return view.Err()
	})
	return alive, err
}

func (l *pushLog) Find(name string, seq uint64) (found push.Found, ok bool, err error) {
	var state changes.State
	if err = l.changes.View(name, func(view *changes.View) error {
		state, _ = view.State(seq)
		return view.Err()
	}); err != nil || state.Deleted != 0 {
		return found, false, err
	}
	r, ok, err := l.record(name, seq)
	if err != nil || !ok {
		return found, false, err
	}
	found.From, found.At = r.From, r.At
	if state.Edit != 0 {
		// What was said before is nobody's business any more, even if the edit can't be read.
		r, ok, err = l.record(name, state.Edit)
	}
	var content v1.Message
	if ok && content.UnmarshalVT(r.Body) == nil {
		found.Text = content.GetText()
	}
	return found, true, err
}

// record reads one record; damage is as if it were gone.
func (l *pushLog) record(name string, seq uint64) (r storage.Record, ok bool, err error) {
	err = l.log.ReadAfter(name, seq-1, storage.PageLimit{Records: 1}, func(read storage.Record) bool {
		if ok = read.Seq == seq; ok {
			r = storage.Record{From: strings.Clone(read.From), At: read.At, Body: append([]byte(nil), read.Body...)}
		}
		return false
	})
	if _, damaged := errors.AsType[*storage.DamagedError](err); damaged {
		return r, false, nil
	}
	return r, ok, err
}

// pushDirectory is the catalog as push reads it.
type pushDirectory struct {
	catalog   *catalog.Catalog
	standings standings
}

func (d pushDirectory) Count(name string) (int, error) { return d.catalog.CountMembers(name) }

func (d pushDirectory) Each(name string, fn func(user string, m push.Member)) error {
	var wrong error
	err := d.catalog.Members(name, func(user string, m catalog.Member) bool {
		var member push.Member
		if member, wrong = d.member(name, user, m); wrong == nil {
			fn(strings.Clone(user), member)
		}
		return wrong == nil
	})
	return errors.Join(err, wrong)
}

func (d pushDirectory) Member(name, user string) (push.Member, bool, error) {
	m, ok, err := d.catalog.Member(name, user)
	if err != nil || !ok {
		return push.Member{}, false, err
	}
	member, err := d.member(name, user, m)
	return member, err == nil, err
}

func (d pushDirectory) member(name, user string, m catalog.Member) (push.Member, error) {
	standing, err := d.standings.Standing(name, user)
	return push.Member{Level: notifyLevel(m), From: m.From, Delivered: standing.Delivered}, err
}
