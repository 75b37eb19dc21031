package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"rookery/gateway/internal/api"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/members"
	"rookery/gateway/internal/room"
	"rookery/proto"
	"rookery/storage/commitlog"
	"rookery/storage/interchange"
	"rookery/storage/vfs"
)

// newAPI makes the server API. What it may ask is here: everything else belongs to an owner.
func (s *Server) newAPI(inboxes []*handoff.Mailbox[handoff.Event], kind func(string) handoff.RoomKind, rules []memberRule) (*api.API, error) {
	keys, err := s.cfg.apiKeys()
	if err != nil {
		return nil, err
	}
	a := api.New(api.Config{
		Calls:      s.calls,
		Members:    s.members,
		Room:       func(room string) (api.Room, error) { return s.apiRoom(room, kind(room)) },
		Kind:       kind,
		Ephemeral:  s.cfg.Rooms.ephemeral,
		DirectRoom: func(a, b string) string { return directRoom(rules, a, b) },
		Disconnect: func(user, reason string) {
			for _, inbox := range inboxes {
				e := handoff.Event{Kind: handoff.Disconnect, Member: &handoff.Membership{User: user}, Text: reason, Size: handoff.ReplySize}
				inbox.PutAlways(e, e.Size)
			}
		},
		Trace:        s.engine.Trace,
		Export:       s.export,
		Figures:      s.figures,
		MessageBytes: s.cfg.Limits.MessageBytes,
		Log:          s.log,
	})
	a.SetKeys(keys)
	return a, nil
}

// apiRoom is a room as the log and the catalog know it. A plain or open one is there without having been made.
func (s *Server) apiRoom(name string, kind handoff.RoomKind) (api.Room, error) {
	r := api.Room{
		Room: name, Kind: kind.String(), Ephemeral: s.cfg.Rooms.ephemeral(name), Epoch: room.EpochName(s.store.Epoch()),
		Head: s.store.Head(name), Begin: s.store.Begin(name),
	}
	if kind == handoff.Plain {
		return r, nil
	}
	settings, made, err := memberStore{s.catalog}.Get(members.Key{Family: members.RoomSettings, Room: name})
	switch {
	case err != nil:
		return r, fmt.Errorf("read the settings of the room %q: %w", name, err)
	case !made && kind != handoff.Open:
		return r, api.ErrNoRoom
	}
	r.Title, r.SlowModeMS, r.Speak = settings.Title, settings.SlowMS, settings.Speak.String()
	if r.Speak == "" {
		r.Speak = handoff.RoleMember.String()
	}
	if kind == handoff.Direct {
		r.Users = slices.Clone(settings.Direct[:])
	}
	return r, nil
}

// export reads the log's files beside the server, as the command does: the owners know nothing of it.
func (s *Server) export(ctx context.Context, out io.Writer, what api.Export) (err error) {
	fs := s.cfg.fs
	if fs == nil {
		fs = vfs.Disk()
	}
	view, err := commitlog.OpenView(fs, s.cfg.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	filter := interchange.Filter{User: what.User}
	if what.Room != "" {
		filter.Rooms = []string{what.Room}
	}
	_, err = interchange.Export(ctx, view, out, interchange.ExportConfig{Filter: filter, Start: what.From, Contents: proto.StoredContents{}})
	return err
}

// figures are what the metrics know, for a program that reads JSON.
func (s *Server) figures() api.Figures {
	f := api.Figures{Capacity: s.engine.Capacity()}
	for _, c := range s.engine.Counters() {
		f.Connections += c.Connections.Load()
		f.Sessions += c.Sessions.Load()
		f.Subscriptions += c.Subscriptions.Load()
		addCounts(&f.Counts, c)
	}
	rooms, log := s.rooms.Stats(), s.store.Stats()
	f.RoomsActive, f.RoomsStored, f.LogBytes = rooms.Rooms, int64(log.Rooms), log.Bytes
	f.CatalogEntries = int64(s.catalog.Stats().Entries)
	f.Counts.Published, f.Counts.Ephemeral = rooms.Published, rooms.Ephemeral
	f.Counts.Refused = s.refusedLoad() + rooms.RefusedLog
	return f
}

// refusedLoad is the publishes refused because a queue was full, by the loops or by the rooms.
func (s *Server) refusedLoad() int64 {
	sum := s.rooms.Stats().RefusedLoad
	for _, c := range s.engine.Counters() {
		sum += c.PushedBack.Load()
	}
	return sum
}

func addCounts(sum *api.Counts, c *loop.Counters) {
	sum.Connections += c.Opened.Load()
	sum.Requests += c.FramesIn.Load()
	sum.Deliveries += c.Deliveries.Load()
}
