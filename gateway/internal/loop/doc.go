// Package loop is the event loop's side of the gateway: connections, their sessions, the
// subscriptions of a loop, fan-out and outbound. gnet runs one loop per core, each with its
// own listener; a Loop here is our state beside one of gnet's.
//
// Everything of a Loop and of its connections is touched only on that event loop's
// goroutine: in gnet's callbacks for a connection, and in work, which the bell calls when
// other owners have put events into the loop's mailbox, or the watcher knows of a socket. Nothing here waits for a disk, a lock that
// is held over I/O, or another goroutine. The files in the order a message meets them:
//
//	engine.go        gnet's callbacks; which Loop a connection belongs to
//	bell.go          how others wake a loop, and how a loop yields to its sockets
//	loop.go          the Loop: its table of connections, its turn
//	conn.go          a connection and its phases; closing
//	enter.go         connections that were accepted elsewhere; who a peer is
//	proxy.go         who is behind a proxy
//	secure.go        records of TLS, opened before and sealed behind all that follows
//	kernel.go        the ends of connections whose records the kernel opens and seals
//	barren.go        and those of them that hold no data
//	inbound.go       bytes to frames
//	personal.go      events that are for one connection, and faults of ours
//	http.go          pages, and the upgrade to WebSocket
//	events.go        streams of Server-Sent Events, where WebSocket is blocked
//	positions.go     what the ids of their events say
//	post.go          what is posted to them
//	session.go       frames to commands: rights, limits, replies
//	application.go   a connect that an application is asked about
//	sync.go          all rooms of a user at once, what a reader is asked
//	presence.go      who is there and who is typing: requests, and what the keeper is told
//	admission.go     caps per address and user (shared by the loops)
//	rates.go         how often each operation may be done
//	denial.go        the line for whom to ban
//	subscription.go  who is a member of what on this loop
//	membership.go    rooms with members: who is what in them, so far as they are here
//	members.go       what the keeper of members is asked
//	slow.go          slow mode (shared by the loops)
//	gather.go        rooms whose messages wait for each other first
//	fanout.go        committed messages to members, in slices
//	ephemeral.go     messages that are not in the log, and who is behind with them
//	replay.go        who is behind is served until it is live
//	recent.go        from the room's last messages, if they are kept, else from the log
//	outbound.go      all that is pending for a connection leaves in one write
//	watcher.go       sockets of which gnet does not tell: full ones that take bytes again, and those of a takeover
//	clock.go         heartbeats, deadlines, stalls
//	carry.go         giving connections to another process
//	landing.go       taking them in
//	lifted.go        a socket that no gnet has: on its way to another process, come from one, or kept for its last second
//	expiry.go        tokens that have expired or were revoked
//	load.go          how much may wait for a loop that has more than it can do, and how long its busy rooms pause
//	line.go          how long sockets wait to be read, and turns amid that
//	counters.go      what the metrics read
//	survey.go        who is behind, and large and busy rooms, for an operator who looks
//	trace.go         the frames of one user, without what is said, for an operator who looks
//
// # The seam between catch-up and live
//
// A subscription is a position in a room's log. Up to date it needs no memory: it is live.
// Otherwise it has an entry with its position in its connection's replay state, because
// it joined with a position, or because its socket was full when a message came. It is then
// given what follows, a piece at a time, one piece of one room per connection and turn: from the last messages of the room, which
// are kept in memory while somebody is behind there and are shared by all who are, or a page of the log where they are not there. It meets
// the live messages when what it was given ends where fan-out goes on for it, or a batch of them begins right after its
// position (or before it; what was seen is skipped). Then the entry goes.
//
// A loop with members of a room is given all its deliveries, so it knows the live edge and answers a join itself. The shard
// is asked for the first member, for a client that has seen more than the loop, and when what it said of the room's
// beginning is old.
//
// Ephemeral messages have no position. They go to every member whose socket takes them, live
// or not, and what others missed is kept apart: ephemeral.go never looks at a replay entry, and
// replay.go never at an ephemeral message.
//
// # Bounds
//
// Outbound bytes of a connection: one page or one batch beyond what the socket took, and
// replies; over Config.OutboundBytes it is closed, and so are those stalled longest when
// all together are over Config.OutboundTotal. Pages being read or waiting in the
// mailbox: maxReading of catch-up and as many of history a loop. Batches of a room: its
// messages are accounted to the mailbox until they are fanned out; shards refuse publishes
// while it is full. The last messages of a room: 4 MiB, and 16 MiB of a loop. Ephemeral messages kept for who is behind: 256 and 64 KiB of a room, 16
// MiB of a loop; a connection that drains is given a room's at a time. What a client sends
// behind a connect that an application is asked about: twice the longest message.
package loop
