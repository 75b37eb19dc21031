package gateway

import (
	"context"
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

// PushConfig says who is told outside of connections that messages wait for them, docs/push.md. Without a sender, Webhook or WebPushKey,
// it is off.
type PushConfig struct {
	// Webhook is where summaries are sent: https://host/path, or http:// of this machine. Default empty, off.
	Webhook string
	// Secret signs the requests: whsec_ and 24 to 64 bytes in base64. Default none; a Webhook needs one.
	Secret Secret
	// WebPushKey signs what is sent to the push services of browsers: a private key of P-256 in base64url. Default none, off.
	WebPushKey Secret
	// WebPushContact is where these services reach who runs this server, mailto:name@host or https://host. Default none; WebPushKey needs it.
	WebPushContact string
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
	if c.Webhook != "" {
		if err := push.CheckWebhook(c.Webhook); err != nil {
			return "push.webhook", err.Error()
		}
		if err := push.CheckSecret(string(c.Secret)); err != nil {
			return "push.secret", err.Error()
		}
	}
	if c.WebPushKey != "" {
		key, contact := push.CheckWebPush(string(c.WebPushKey), c.WebPushContact)
		if key != nil {
			return "push.web_push_key", key.Error()
		}
		if contact != nil {
			return "push.web_push_contact", contact.Error()
		}
	}
	return "", ""
}

// newWebPush gives the sender for browsers, nil if it is off.
func (s *Server) newWebPush() (*push.WebPush, error) {
	c := s.cfg.Push
	if c.WebPushKey == "" {
		return nil, nil
	}
	return push.NewWebPush(string(c.WebPushKey), c.WebPushContact, s.cfg.Dev, pushDevices{s.catalog})
}

// startPush starts push, nil if nothing is to be sent anywhere. The keeper of members runs.
func (s *Server) startPush(kind func(room string) handoff.RoomKind, standing standings, browsers *push.WebPush) (*push.Keeper, error) {
	c := s.cfg.Push
	var senders []push.Destination
	if c.Webhook != "" {
		hook, err := push.NewWebhook(c.Webhook, string(c.Secret))
		if err != nil {
			return nil, err
		}
		senders = append(senders, push.Destination{Kind: "webhook", Sender: hook, OneHost: true})
	}
	if browsers != nil {
		senders = append(senders, push.Destination{Kind: "web_push", Sender: browsers})
	}
	if len(senders) == 0 {
		return nil, nil
	}
	keeper, err := push.Start(push.Config{
		Log:         &pushLog{log: s.store, changes: s.changes, kind: kind, receipts: s.cfg.Rooms.receipts, logger: s.log},
		History:     fmt.Sprintf("%x-%s", s.store.LogID(), standing.epoch),
		Directory:   pushDirectory{s.catalog, standing, s.members.Banned},
		Senders:     senders,
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
	if isSystemRoom(r.Room) || l.kind(r.Room) == handoff.Plain || !l.receipts(r.Room) {
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

// pushDirectory is the catalog as push reads it. Who is banned from the server is told nothing, as if they were no members.
type pushDirectory struct {
	catalog   *catalog.Catalog
	standings standings
	banned    func(user string) (until int64)
}

func (d pushDirectory) Count(name string) (int, error) { return d.catalog.CountMembers(name) }

func (d pushDirectory) Each(name string, fn func(user string, m push.Member)) error {
	var wrong error
	err := d.catalog.Members(name, func(user string, m catalog.Member) bool {
		if d.banned(user) != 0 {
			return true
		}
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
	if err != nil || !ok || d.banned(user) != 0 {
		return push.Member{}, false, err
	}
	member, err := d.member(name, user, m)
	return member, err == nil, err
}

func (d pushDirectory) member(name, user string, m catalog.Member) (push.Member, error) {
	standing, err := d.standings.Standing(name, user)
	return push.Member{Level: notifyLevel(m), From: m.From, Delivered: standing.Delivered}, err
}

// pushDevices are the catalog's as push reads them.
type pushDevices struct{ catalog *catalog.Catalog }

func (d pushDevices) Names(user string) (names []string, err error) {
	err = d.catalog.DevicesOf(user, func(id string, device catalog.Device) bool {
		if device.WebPush != nil {
			names = append(names, strings.Clone(id))
		}
		return true
	})
	return names, err
}

func (d pushDevices) Find(user, id string) (handoff.WebPush, bool, error) {
	device, ok, err := d.catalog.Device(user, id)
	return deviceRecord(device).WebPush, ok && device.WebPush != nil, err
}

func (d pushDevices) End(user, id string, s handoff.WebPush) error {
	return d.catalog.Update(context.Background(), catalog.EndWebPush(user, id, s.Endpoint))
}
