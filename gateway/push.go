package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/push"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/catalog"
	"rookery/storage/changes"
	"rookery/storage/commitlog"
)

// pushSenders are the ways to users, nil those that are off.
type pushSenders struct {
	webhook *push.Webhook
	webPush *push.WebPush
	apns    *push.APNs
	fcm     *push.FCM
}

func (s *Server) newPushSenders() (w pushSenders, err error) {
	c, devices := s.cfg.Push, pushDevices{s.catalog}
	keys, faults := c.keys()
	for _, fault := range faults {
		return w, fmt.Errorf("%s: %w", fault.setting, fault.err)
	}
	if c.Webhook != "" {
		if w.webhook, err = push.NewWebhook(c.Webhook, keys.webhook); err != nil {
			return w, err
		}
	}
	if keys.webPush != "" {
		if w.webPush, err = push.NewWebPush(keys.webPush, c.WebPushContact, s.cfg.Dev, devices); err != nil {
			return w, err
		}
	}
	if keys.apns != nil {
		if w.apns, err = push.NewAPNs(push.APNsConfig{
			Key: keys.apns, KeyID: c.APNs.KeyID, TeamID: c.APNs.TeamID, Topic: c.APNs.Topic, Sandbox: c.APNs.Sandbox, URL: c.APNs.URL,
		}, devices); err != nil {
			return w, err
		}
	}
	if keys.fcm != nil {
		if w.fcm, err = push.NewFCM(keys.fcm, c.FCM.URL, devices); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w pushSenders) destinations() (all []push.Destination) {
	if w.webhook != nil {
		all = append(all, push.Destination{Kind: "webhook", Sender: w.webhook, OneHost: true})
	}
	if w.webPush != nil {
		all = append(all, push.Destination{Kind: string(handoff.ServiceWebPush), Sender: w.webPush})
	}
	if w.apns != nil {
		all = append(all, push.Destination{Kind: string(handoff.ServiceAPNs), Sender: w.apns, OneHost: true})
	}
	if w.fcm != nil {
		all = append(all, push.Destination{Kind: string(handoff.ServiceFCM), Sender: w.fcm, OneHost: true})
	}
	return all
}

// webPushKey is what browsers subscribe with, empty if none are told.
func (w pushSenders) webPushKey() string {
	if w.webPush == nil {
		return ""
	}
	return w.webPush.PublicKey()
}

// services are those of whose devices tokens are taken.
func (w pushSenders) services() (names []string) {
	if w.apns != nil {
		names = append(names, string(handoff.ServiceAPNs))
	}
	if w.fcm != nil {
		names = append(names, string(handoff.ServiceFCM))
	}
	return names
}

// check says what is wrong with a subscription, in a sentence; "" is nothing.
func (w pushSenders) check(s handoff.Subscription) string {
	switch service := s.Service(); {
	case service == handoff.ServiceWebPush && w.webPush != nil:
		return w.webPush.Check(s.WebPush)
	case service == handoff.ServiceAPNs && w.apns != nil:
		return w.apns.CheckToken(s.APNs)
	case service == handoff.ServiceFCM && w.fcm != nil:
		return w.fcm.CheckToken(s.FCM)
	case service == handoff.NoService:
		return "A device is told by one of webPush, apns and fcm."
	}
	return "This server does not use that push service."
}

// startPush starts push, nil if nothing is to be sent anywhere. The keeper of members runs.
func (s *Server) startPush(kind func(room string) handoff.RoomKind, standing standings, senders []push.Destination) (*push.Keeper, error) {
	c := s.cfg.Push
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

func (d pushDevices) Names(user string, service handoff.Service) (names []string, err error) {
	err = d.catalog.DevicesOf(user, func(id string, device catalog.Device) bool {
		if deviceRecord(device).Subscription.Service() == service {
			names = append(names, strings.Clone(id))
		}
		return true
	})
	return names, err
}

func (d pushDevices) Find(user, id string) (handoff.Subscription, bool, error) {
	device, ok, err := d.catalog.Device(user, id)
	return deviceRecord(device).Subscription, ok && device.Told(), err
}

func (d pushDevices) End(user, id string, s handoff.Subscription) error {
	return d.catalog.Update(context.Background(), catalog.EndSubscription(user, id, catalogDevice(s)))
}
