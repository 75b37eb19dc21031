package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/api"
	"rookery/gateway/internal/audit"
	"rookery/gateway/internal/calls"
	"rookery/gateway/internal/consult"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/members"
	"rookery/gateway/internal/notice"
	"rookery/gateway/internal/operator"
	"rookery/gateway/internal/presence"
	"rookery/gateway/internal/push"
	"rookery/gateway/internal/rate"
	"rookery/gateway/internal/receipts"
	"rookery/gateway/internal/revocation"
	"rookery/gateway/internal/room"
	"rookery/gateway/internal/seen"
	"rookery/gateway/internal/signin"
	"rookery/gateway/internal/site"
	"rookery/gateway/internal/webhook"
	"rookery/storage/catalog"
	"rookery/storage/changes"
	"rookery/storage/commitlog"
	"rookery/storage/ship"
	"rookery/web"
)

// inboxBytes bounds what waits for one loop. Shards refuse publishes while one is full.
const inboxBytes = 32 << 20

// Server is a gateway. New opens its log, Run serves. For one goroutine, but for the
// methods that say otherwise.
type Server struct {
	// Set by New.
	cfg         Config
	log         *slog.Logger
	descriptors int
	loops       int
	public      reservation
	socket      *proxySocket // nil: none
	secure      secureListener
	admin       net.Listener // nil: off
	adminTLS    *adminTLS    // nil: plain HTTP
	store       *commitlog.Log
	catalog     *catalog.Catalog
	shipper     *ship.Shipper // nil: off
	changes     *changes.Index
	rooms       *room.Rooms
	receipts    *receipts.Keeper
	revocations *revocation.Set
	members     *members.Keeper
	push        *push.Keeper    // nil: off
	hook        *webhook.Hook   // nil: no application is asked or told anything
	consult     *consult.Keeper // nil: the application is asked nothing
	notices     *notice.Keeper  // nil: it is told nothing of members
	presence    *presence.Keeper
	audit       *audit.Log
	seen        *seen.Seen // nil: it is not stored
	calls       *calls.Calls
	pageKeys    pageKeys
	signIn      *signin.SignIn // nil: off
	site        *site.Site     // nil as signIn
	api         *api.API
	operator    *operator.Board
	engine      *loop.Engine
	land        func() error  // Restore of the engine; a test has it fail
	bodyTime    time.Duration // adminBodyTime; a test has less
	serving     chan struct{}
	hears       chan struct{} // closed a moment after what clients send is read

	// Its own lock.
	keySet keySet

	accepts accept.Faults // that failed, on all listeners

	// Written by Run, read by the admin listener.
	state atomic.Int32

	// Set by newServer.
	inherited *inheritance // nil: it began by itself
	handed    handed       // listeners that are for whoever takes over
	lateLine  rate.Line    // about those that come late and are not taken
	// Owned by Run.
	usher *usher // nil: it has not begun

	// Written by Run and Reload, read by anyone.
	successor  atomic.Pointer[Server] // went on after a takeover that failed
	succession *sync.Mutex            // of all servers that follow one another in this process; held while one is reloaded, or the next is made
	heir       atomic.Int64           // process that took over, 0: none

	// Written by New and Reload, read by retention from any goroutine.
	retentionRules atomic.Pointer[retentionRules]
	// The same, read by the admin listener.
	auth    atomic.Pointer[AuthConfig]
	inForce atomic.Pointer[Config] // only to be shown
	read    atomic.Pointer[Config] // what was read last, with its secrets; nil: nothing since the start
}

// States of readiness.
const (
	starting int32 = iota
	ready
	leaving
)

// New opens the log and the catalog in it, and takes the addresses. Whoever calls New calls Run. The logger must not wait for who reads it: event loops
// log, too.
func New(cfg Config, logger *slog.Logger) (*Server, error) { return newServer(cfg, logger, nil) }

// newServer is New, for a server that goes on with connections of another if inherited is not nil.
func newServer(cfg Config, logger *slog.Logger, inherited *inheritance) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: logger, serving: make(chan struct{}), hears: make(chan struct{}), inherited: inherited, handed: handed{}, bodyTime: adminBodyTime, succession: inherited.lineage()}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if s.descriptors, err = descriptorLimit(); err != nil {
		return nil, err
	}
	s.loops = orElse(cfg.Loops, runtime.NumCPU())
	connections, err := capacity(cfg.Limits.Connections, s.descriptors, cfg.reservedDescriptors(s.loops))
	if err != nil {
		return nil, err
	}
	listen := cfg.Listen
	if inherited != nil {
		listen = inherited.address
	}
	if s.public, err = reserve(listen); err != nil {
		return nil, fmt.Errorf("listen on %s (setting listen): %w", cfg.Listen, err)
	}
	undo = append(undo, s.public.release)
	if cfg.Proxy.Socket != "" {
		mode, err := cfg.Proxy.socketMode()
		if err != nil {
			return nil, err
		}
		if s.socket, err = listenSocket(cfg.Proxy.Socket, mode, inherited.listener(socketListener)); err != nil {
			return nil, fmt.Errorf("listen on the Unix socket (setting proxy.socket): %w", err)
		}
		if inherited.listener(socketListener) != nil {
			undo = append(undo, s.socket.leave) // its file is the other process's as long as that can go on
		} else {
			undo = append(undo, s.socket.close)
		}
	}
	if s.secure, err = listenSecure(cfg, inherited, &s.accepts, logger); err != nil {
		return nil, err
	}
	undo = append(undo, s.secure.close)
	s.admin = inherited.listener(adminListener)
	if s.admin == nil && cfg.Admin != "" {
		if s.admin, err = net.Listen("tcp", cfg.Admin); err != nil {
			return nil, fmt.Errorf("listen on %s (setting admin): %w", cfg.Admin, err)
		}
	}
	if s.admin != nil {
		undo = append(undo, func() { s.admin.Close() })
	}
	undo = append(undo, s.handed.close)
	if err := s.holdListeners(); err != nil {
		return nil, err
	}
	if s.adminTLS, err = newAdminTLS(cfg.AdminTLS, logger); err != nil {
		return nil, err
	}
	undo = append(undo, s.adminTLS.close)
	if s.audit, err = inherited.auditLog(cfg.AuditFile, logger); err != nil {
		return nil, err
	}
	undo = append(undo, s.closeAudit)
	if s.store, err = commitlog.Open(commitlog.Config{
		Dir:          cfg.Data,
		FS:           cfg.fs,
		SegmentBytes: cfg.Log.SegmentBytes,
		Sync:         syncModes[cfg.Log.Sync],
		SyncEvery:    cfg.Log.SyncInterval,
		OpenSegments: openSegments,
		KeepFor:      cfg.RetryWindow, // the rooms' retry keys are rebuilt from these files
		Logger:       logger,
	}); err != nil {
		return nil, fmt.Errorf("open the log in %s (setting data): %w", cfg.Data, err)
	}
	undo = append(undo, func() { s.store.Close() })
	if s.catalog, err = catalog.Open(catalog.Config{Log: s.store, Synced: cfg.Log.Sync == SyncAlways, Logger: logger}); err != nil {
		return nil, fmt.Errorf("open the catalog in the log in %s (setting data): %w", cfg.Data, err)
	}
	undo = append(undo, s.catalog.Close)
	if s.revocations, err = revocation.Open(revocation.Config{
		Store: revocationStore{s.catalog}, Tell: s.tellRevoked, Log: logger,
	}); err != nil {
		return nil, err
	}
	undo = append(undo, s.revocations.Close)
	s.auth.Store(&cfg.Auth)
	s.keySet.use(cfg.Auth, s.keySet.next(cfg.Auth, logger))
	undo = append(undo, s.keySet.close)
	if s.pageKeys, err = openPageKeys(cfg); err != nil {
		return nil, err
	}
	auth, err := newAuthenticator(cfg, s.keySet.set, s.revocations, s.pageKeys.tokens...)
	if err != nil {
		return nil, err
	}
	retained, err := parseRetention(cfg.Retention)
	if err != nil {
		return nil, err
	}
	s.retentionRules.Store(&retained)
	s.store.Retain(s.retention)

	if s.changes, err = changes.Open(changes.Config{
		Log: s.store, Dir: filepath.Join(cfg.Data, "changes"), Read: room.Facts, Logger: logger,
	}); err != nil {
		return nil, fmt.Errorf("%w (setting data)", err)
	}
	undo = append(undo, func() { _ = s.changes.Close() })

	if s.shipper, err = newShipper(cfg, s.store, logger); err != nil {
		return nil, err
	}

	editable, err := cfg.Rooms.editRules()
	if err != nil {
		return nil, err
	}
	memberRules, err := cfg.Rooms.memberRules()
	if err != nil {
		return nil, err
	}
	kind := func(room string) handoff.RoomKind { return roomKind(memberRules, room) }
	standing := standings{s.catalog, room.EpochName(s.store.Epoch())}
	inboxes := make([]*handoff.Mailbox[handoff.Event], s.loops)
	for i := range inboxes {
		inboxes[i] = handoff.NewMailbox[handoff.Event](inboxBytes)
	}
	// The rooms answer to one more than the loops: to who calls them and is no connection.
	answers := handoff.NewMailbox[handoff.Event](inboxBytes)
	if s.hook, err = cfg.Webhooks.hook(cfg.Limits.MessageBytes); err != nil {
		return nil, err
	}
	s.consult = s.startConsult(inboxes, kind)
	undo = append(undo, s.stopWebhooks)
	var unread rate.Line // each who asks for such a page would have one
	if s.rooms, err = room.Start(room.Config{
		Log:         roomLog{s.store},
		Changes:     s.changes,
		Holdings:    holdings{memberStore{s.catalog}, standing, kind},
		EditWindow:  func(room string) (time.Duration, bool) { return window(editable, room) },
		Asker:       s.asker(),
		Loops:       append(slices.Clone(inboxes), answers),
		Shards:      orElse(cfg.Shards, max(2, runtime.NumCPU())),
		Readers:     2 * runtime.NumCPU(),
		RetryWindow: cfg.RetryWindow,
		ReportDamaged: func(room string, err error) {
			unread.Log(logger, slog.LevelError, "a page of history can't be read", "room", room, "err", err)
		},
	}); err != nil {
		return nil, fmt.Errorf("read the newest messages of the log: %w", err)
	}
	undo = append(undo, s.rooms.Close)
	if cfg.Rooms.LastSeen {
		if s.seen, err = seen.Open(seen.Config{Dir: filepath.Join(cfg.Data, "seen"), Log: logger}); err != nil {
			return nil, fmt.Errorf("%w (setting data)", err)
		}
		undo = append(undo, s.seen.Close)
	}
	s.presence = presence.Start(presence.Config{Loops: inboxes, Calls: answers, Grace: cfg.Rooms.PresenceGrace, Watched: inherited.watched()})
	undo = append(undo, s.presence.Close)
	s.calls = calls.Start(s.rooms, s.presence, answers, len(inboxes))
	undo = append(undo, s.calls.Close)
	gather, err := cfg.Rooms.gatherRules()
	if err != nil {
		return nil, err
	}
	s.receipts = receipts.Start(receipts.Config{
		Store: standing,
		Head:  s.store.Head,
		Loops: inboxes,
		Log:   logger,
	})
	undo = append(undo, s.receipts.Close)
	senders, err := s.newPushSenders()
	if err != nil {
		return nil, err
	}
	if s.members, err = members.Start(members.Config{
		Store:          memberStore{s.catalog},
		Loops:          inboxes,
		Kind:           kind,
		Head:           s.store.Head,
		Notices:        cfg.Webhooks.has(MembershipWebhook),
		Log:            logger,
		RoomsPerUser:   cfg.Limits.RoomsPerUser,
		MembersPerRoom: cfg.Limits.MembersPerRoom,
		LastSeen: func(room, user string) int64 {
			if !cfg.Rooms.presence(room) {
				return 0
			}
			return s.seen.At(user)
		},
		WebPushKey:        senders.webPushKey(),
		PushServices:      senders.services(),
		CheckSubscription: senders.check,
	}); err != nil {
		return nil, fmt.Errorf("start the keeper of members: %w", err)
	}
	undo = append(undo, s.members.Close)
	if s.push, err = s.startPush(kind, standing, senders.destinations()); err != nil {
		return nil, err
	}
	undo = append(undo, s.stopPush)
	if err = s.startSignIn(inboxes); err != nil {
		return nil, err
	}
	undo = append(undo, s.stopSignIn)
	if s.notices, err = s.startNotices(); err != nil {
		return nil, err
	}
	loops := loop.Config{
		Application:   s.application(),
		Asks:          cfg.Webhooks.asks,
		Rooms:         s.rooms,
		Receipts:      s.receipts,
		Members:       s.members,
		Presence:      s.presence,
		Kind:          kind,
		DirectRoom:    func(a, b string) string { return directRoom(memberRules, a, b) },
		Rules:         rules(cfg, auth),
		Inboxes:       inboxes,
		Epoch:         room.EpochName(s.store.Epoch()),
		Ephemeral:     cfg.Rooms.ephemeral,
		KeepsReceipts: cfg.Rooms.receipts,
		SessionEnded:  s.seen.Note,
		KeepsPresence: cfg.Rooms.presence,
		MembersPin:    cfg.Rooms.membersPin,
		Window: func(room string) time.Duration {
			w, _ := window(gather, room)
			return w
		},
		AcceptFailed:       s.accepts.Count,
		Log:                logger,
		Page:               s.pages(),
		Site:               s.loopSite(),
		Policy:             web.ContentSecurityPolicy,
		Development:        cfg.Dev,
		MessageBytes:       cfg.Limits.MessageBytes,
		HeaderBytes:        cfg.Limits.HeaderBytes,
		RoomsPerConnection: cfg.Limits.RoomsPerConnection,
		OutboundBytes:      cfg.Limits.OutboundBytes,
		OutboundTotal:      int64(cfg.Limits.OutboundTotalBytes),
		HandshakeTimeout:   cfg.Limits.HandshakeTimeout,
		FrameTimeout:       cfg.Limits.FrameTimeout,
		StallTimeout:       cfg.Limits.StallTimeout,
		Heartbeat:          cfg.Heartbeat,
		RetryWindow:        cfg.RetryWindow,
	}
	if err := inherited.carried(&loops); err != nil {
		return nil, err
	}
	s.engine = loop.New(loops)
	s.land = s.engine.Restore
	s.engine.SetCapacity(connections)
	if s.api, err = s.newAPI(inboxes, kind, memberRules); err != nil {
		return nil, err
	}
	s.inForce.Store(&s.cfg)
	s.operator = s.newBoard()
	return s, nil
}

var syncModes = map[SyncMode]commitlog.SyncMode{
	SyncAlways:   commitlog.SyncAlways,
	SyncInterval: commitlog.SyncInterval,
	SyncNever:    commitlog.SyncNever,
}

// roomLog gives the rooms the log as they declare it.
type roomLog struct{ *commitlog.Log }

func (l roomLog) Open(committed func(n int, err error)) room.Producer {
	return l.NewProducer(committed)
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Addr is the public address with the real port. Safe for concurrent use.
func (s *Server) Addr() string { return s.public.addr }

// SecureAddr is the public address with TLS, empty when it is off. Safe for concurrent use.
func (s *Server) SecureAddr() string { return s.secure.addr() }

// AdminAddr is the admin listener's address, empty when it is off. Safe for concurrent use.
func (s *Server) AdminAddr() string {
	if s.admin == nil {
		return ""
	}
	return s.admin.Addr().String()
}

// Serving is closed when connections are accepted. Safe for concurrent use.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// Run serves until ctx is done, then drains and closes everything in the order of flow:
// clients are asked to leave, connections end, what was published is committed and
// acknowledged, the log is synced. It returns nil after a complete drain.
func (s *Server) Run(ctx context.Context) error {
	next, err := s.run(ctx)
	for next != nil {
		s.successor.Store(next) // those in between are forgotten, with what they hold
		s.succession.Unlock()   // goOn has locked it
		next, err = next.run(ctx)
	}
	return err
}

// run is Run, until this server has ended, or another one of this process is to go on, to which what it leaves behind belongs.
func (s *Server) run(ctx context.Context) (next *Server, err error) {
	var background sync.WaitGroup
	defer func() {
		if next == nil {
			background.Wait()
		}
	}()
	served := false
	defer func() {
		if !served && s.inherited != nil {
			s.inherited.served(ctx, nil)
		}
	}()
	running, stop := context.WithCancel(context.Background())
	defer stop()
	defer s.handed.close()
	defer s.keySet.close()
	admin := s.startAdmin(&background)
	defer func() {
		if next == nil { // else it is that one's
			s.closeAudit()
		}
	}()
	defer s.adminTLS.close()
	defer admin.Close()
	defer s.operator.Close()
	defer s.secure.close()
	if s.shipper != nil {
		s.shipper.Start()
	}

	ended := make(chan error, 1)
	background.Go(func() { ended <- s.engine.Run(s.public.addr) })
	select {
	case err := <-ended:
		s.public.release()
		s.closeEntrances()
		return nil, errors.Join(err, s.closeAll())
	case <-s.engine.Booted():
	}
	s.public.release()
	if err := s.takeConnections(ended); err != nil {
		s.closeEntrances()
		return nil, errors.Join(err, s.closeAll())
	}
	if s.inherited != nil {
		// What was revoked when the loops had no connections yet, of those that have come since.
		for _, revoked := range s.revocations.List() {
			s.tellRevoked(revoked)
		}
	}
	s.secure.start(s.cfg, s.engine, &s.accepts, s.log)
	if s.socket != nil {
		s.socket.serve(s.engine.Enter, &s.accepts, s.log)
	}
	s.usher = s.startUsher()
	s.state.Store(ready)
	close(s.serving)
	s.log.Info("serving", "address", s.public.addr, "tls", s.SecureAddr(), "page", s.pageURL(), "admin", s.AdminAddr(),
		"data", s.cfg.Data, "development", s.cfg.Dev, "connections", s.engine.Capacity(), "socket", s.cfg.Proxy.Socket)
	served = true
	heirs := make(chan heir)
	background.Go(func() { s.heirsLoop(running, heirs) })

	select {
	case err := <-ended:
		s.closeEntrances()
		return nil, errors.Join(err, s.closeAll())
	case h := <-heirs:
		if next, err = s.handOver(ctx, h, admin, &background); next == nil {
			err = errors.Join(err, <-ended)
		}
		return next, err
	case <-ctx.Done():
	}
	end := time.Now().Add(s.cfg.Drain.Timeout)
	late := s.drain(end)
	s.closeEntrances() // until here who connects is told why not, as at the public address
	s.secure.close()
	s.handed.close() // or the kernel would go on taking connections
	stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(late, s.engine.Stop(stopping), <-ended)
	if late != nil {
		// The disk does not answer: Close would wait for it too, past drain.timeout. The log is
		// made for a process that ends without it.
		return nil, err
	}
	return nil, errors.Join(err, s.closeStorageBy(end))
}

func (s *Server) pageURL() string {
	host, port, _ := net.SplitHostPort(s.public.addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}
