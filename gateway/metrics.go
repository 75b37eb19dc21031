package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/consult"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/notice"
	"rookery/gateway/internal/push"
	"rookery/proto"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
	"rookery/storage/ship"
)

// metrics reads the owners' counters when it is scraped and sums them: nothing is counted
// twice and nothing is shared on the way of a message.
type metrics struct {
	server  *Server
	loops   []loopMetric
	rooms   []roomMetric
	log     []logMetric
	catalog []catalogMetric
	ship    []shipMetric // given while the log is shipped

	closed, refused, denied, errors, capacity *prometheus.Desc
	ephemeralDropped, acceptFailures          *prometheus.Desc
	syncSeconds, batchRecords, publishSeconds *prometheus.Desc

	// By event, given while an application is asked.
	hooks       []hookMetric
	hookSeconds *prometheus.Desc

	// By loop and by shard: whether the work is spread.
	loopConnections, loopDeliveries, loopMailbox *prometheus.Desc
	shardPublished, shardMailbox                 *prometheus.Desc
}

type loopMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*loop.Counters) int64
}

type roomMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*Server) int64
}

type logMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(commitlog.Stats) float64
}

type catalogMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(catalog.Stats) float64
}

type shipMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(ship.Stats) float64
}

type hookMetric struct {
	desc *prometheus.Desc
	read func(consult.EventStats) int64
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rookery_"+name, help, labels, nil)
}

func newMetrics(s *Server) *metrics {
	m := &metrics{server: s,
		closed:           desc("connections_closed_total", "Connections ended, by the code they were closed with; peer: by the client.", "code"),
		denied:           desc("denied_total", "Whom the server turned away for what they did, by reason.", "reason"),
		refused:          desc("connections_refused_total", "Connections turned away, by reason.", "reason"),
		errors:           desc("request_errors_total", "Requests answered with an error, by its name.", "name"),
		ephemeralDropped: desc("ephemeral_dropped_total", "Deliveries of ephemeral messages and receipts left out for connections that were behind, by reason: behind, newer ones or none were kept for them; left: they left or ended behind. With ephemeral_delivered_total it is all that was owed.", "reason"),
		acceptFailures:   desc("accept_failures_total", "Accepts that failed on any listener, by reason: process_files, machine_files, no descriptor was left to the process or the machine; memory, the kernel had none; other. Who connects waits, or comes again.", "reason"),
		capacity:         desc("connections_capacity", "Most connections at once: the setting, or what the descriptors allow."),
		syncSeconds:      desc("log_sync_seconds", "Time of a sync of the log."),
		batchRecords:     desc("log_batch_records", "Messages committed together."),
		publishSeconds:   desc("publish_seconds", "Time of a publish from its place in the room to its acknowledgement."),

		hookSeconds: desc("webhook_seconds", "Time of a question to the application, by event.", "event"),

		loopConnections: desc("loop_connections", "Connections open now, by event loop.", "loop"),
		loopDeliveries:  desc("loop_deliveries_total", "Messages handed to connections, by event loop.", "loop"),
		loopMailbox:     desc("loop_mailbox_bytes", "Events and deliveries waiting, by event loop.", "loop"),
		shardPublished:  desc("shard_published_total", "Messages committed, by room shard.", "shard"),
		shardMailbox:    desc("shard_mailbox_bytes", "Commands waiting, by room shard.", "shard"),
	}
	inLoop := func(kind prometheus.ValueType, name, help string, read func(*loop.Counters) int64) {
		m.loops = append(m.loops, loopMetric{desc(name, help), kind, read})
	}
	inLoop(gauge, "connections", "Connections open now.", func(c *loop.Counters) int64 { return c.Connections.Load() })
	inLoop(gauge, "sessions", "Authenticated connections now.", func(c *loop.Counters) int64 { return c.Sessions.Load() })
	inLoop(gauge, "subscriptions", "Rooms joined now, over all connections.", func(c *loop.Counters) int64 { return c.Subscriptions.Load() })
	inLoop(gauge, "subscriptions_behind", "Subscriptions that are behind now: served from memory or the log.", func(c *loop.Counters) int64 { return c.Behind.Load() })
	inLoop(gauge, "loop_rooms", "Rooms with members, over all loops.", func(c *loop.Counters) int64 { return c.Rooms.Load() })
	inLoop(gauge, "outbound_bytes", "Bytes that sockets did not take yet.", func(c *loop.Counters) int64 { return c.Buffered.Load() })
	inLoop(counter, "connections_opened_total", "Connections accepted, refused ones among them.", func(c *loop.Counters) int64 { return c.Opened.Load() })
	inLoop(counter, "received_bytes_total", "Bytes taken from sockets.", func(c *loop.Counters) int64 { return c.BytesIn.Load() })
	inLoop(counter, "sent_bytes_total", "Bytes given to sockets.", func(c *loop.Counters) int64 { return c.BytesOut.Load() })
	inLoop(counter, "requests_total", "Frames taken from clients.", func(c *loop.Counters) int64 { return c.FramesIn.Load() })
	inLoop(counter, "deliveries_total", "Messages handed to connections, live, from memory or from the log.", func(c *loop.Counters) int64 { return c.Deliveries.Load() })
	inLoop(counter, "recent_deliveries_total", "Messages handed to connections that were behind, of those kept in memory.", func(c *loop.Counters) int64 { return c.RecentDeliveries.Load() })
	inLoop(gauge, "recent_bytes", "Last messages of rooms kept in memory for who is behind.", func(c *loop.Counters) int64 { return c.RecentBytes.Load() })
	inLoop(counter, "writes_total", "Writes to sockets.", func(c *loop.Counters) int64 { return c.Writes.Load() })
	inLoop(counter, "subscriptions_fell_behind_total", "Times a subscription fell behind, to be served from memory or the log.", func(c *loop.Counters) int64 { return c.FellBehind.Load() })
	inLoop(counter, "sockets_full_total", "Times a socket did not take everything.", func(c *loop.Counters) int64 { return c.Full.Load() })
	inLoop(counter, "ephemeral_delivered_total", "Ephemeral messages and receipts handed to connections, whether they read them or not.", func(c *loop.Counters) int64 { return c.EphemeralDelivered.Load() })
	inLoop(counter, "ephemeral_evicted_total", "Newest ephemeral messages or receipts of a key that were not kept for who is behind, for want of room.", func(c *loop.Counters) int64 { return c.EphemeralEvicted.Load() })
	inLoop(gauge, "ephemeral_kept_bytes", "Ephemeral messages and receipts kept for who is behind.", func(c *loop.Counters) int64 { return c.EphemeralKept.Load() })
	inLoop(counter, "probes_total", "Silent connections asked for a sign of life.", func(c *loop.Counters) int64 { return c.Probes.Load() })
	inLoop(counter, "probes_answered_total", "Silent connections that gave a sign of life when they were asked.", func(c *loop.Counters) int64 { return c.Answers.Load() })
	inLoop(counter, "denied_unlogged_total", "Denials without a log line, since there were many of the address.", func(c *loop.Counters) int64 { return c.Unlogged.Load() })
	inLoop(counter, "panics_total", "Panics that closed one connection.", func(c *loop.Counters) int64 { return c.Panics.Load() })

	inRooms := func(kind prometheus.ValueType, name, help string, read func(*Server) int64) {
		m.rooms = append(m.rooms, roomMetric{desc(name, help), kind, read})
	}
	inRooms(counter, "published_total", "Messages committed.", func(s *Server) int64 { return s.rooms.Stats().Published })
	inRooms(counter, "ephemeral_messages_total", "Ephemeral messages taken.", func(s *Server) int64 { return s.rooms.Stats().Ephemeral })
	inRooms(counter, "publish_duplicates_total", "Publishes answered from a retry key.", func(s *Server) int64 { return s.rooms.Stats().Duplicates })
	inRooms(counter, "publish_refused_load_total", "Publishes refused because a queue was full, ephemeral ones among them.", func(s *Server) int64 { return s.refusedLoad() })
	inRooms(counter, "publish_refused_log_total", "Publishes refused because of the log.", func(s *Server) int64 { return s.rooms.Stats().RefusedLog })
	inRooms(counter, "receipt_marks_total", "Marks of how far somebody has come, taken from clients.", func(s *Server) int64 { return s.receipts.Stats().Marks })
	inRooms(counter, "receipts_stored_total", "Changes of how far somebody has come, stored.", func(s *Server) int64 { return s.receipts.Stats().Stored })
	inRooms(counter, "receipts_refused_total", "Marks and questions refused because too much waited or the log failed.", func(s *Server) int64 { return s.receipts.Stats().Refused })
	inRooms(counter, "receipts_untold_total", "Receipts that a loop with too much waiting was not given for its members.", func(s *Server) int64 { return s.receipts.Stats().Untold })
	inRooms(counter, "member_requests_total", "Requests about members, joins of rooms with members among them.", func(s *Server) int64 { return s.members.Stats().Requests })
	inRooms(counter, "member_changes_total", "Changes of members, bans, mutes and rooms with members, stored.", func(s *Server) int64 { return s.members.Stats().Stored })
	inRooms(counter, "member_requests_refused_total", "Requests about members refused because too much waited or the log failed.", func(s *Server) int64 { return s.members.Stats().Refused })
	inRooms(counter, "member_news_untold_total", "News of members that a loop with too much waiting was not given.", func(s *Server) int64 { return s.members.Stats().Untold })
	inRooms(gauge, "presence_rooms", "Rooms that are observed, because somebody watches who is there, or did a moment ago.", func(s *Server) int64 { return s.presence.Stats().Observed })
	inRooms(counter, "presence_told_total", "Changes of presence and who is typing, given to loops.", func(s *Server) int64 { return s.presence.Stats().Told })
	inRooms(counter, "presence_refused_total", "Questions of presence and typing refused because too much waited.", func(s *Server) int64 { return s.presence.Stats().Refused })
	inRooms(counter, "presence_untold_total", "Who is typing, not given to a loop with too much waiting.", func(s *Server) int64 { return s.presence.Stats().Untold })
	inRooms(counter, "last_seen_unnoted_total", "Ends of sessions that are not stored, because too much waited for the disk.", func(s *Server) int64 { return s.seen.Unnoted() })
	inRooms(gauge, "rooms", "Rooms held in memory: with members or a publish under way.", func(s *Server) int64 { return s.rooms.Stats().Rooms })
	inRooms(gauge, "retry_keys", "Retry keys remembered.", func(s *Server) int64 { return s.rooms.Stats().Keys })
	inRooms(counter, "retry_keys_evicted_total", "Retry keys forgotten before their window ended.", func(s *Server) int64 { return s.rooms.Stats().KeysEvicted })
	inRooms(counter, "changes_refused_total", "Changes of messages refused by a rule: by whom, how late, how many.", func(s *Server) int64 { return s.rooms.Stats().RefusedChanges })
	inRooms(counter, "changes_indexed_total", "Records that the index of changes has taken: changes, mentions, messages of threads.", func(s *Server) int64 { return s.changes.Stats().Applied })
	inRooms(counter, "changes_rebuilt_total", "Times that the index of changes was made again from the log.", func(s *Server) int64 { return s.changes.Stats().Rebuilt })
	inRooms(gauge, "changes_behind_bytes", "Bytes of the log that the index of changes has not read yet.", func(s *Server) int64 { return s.changes.Stats().Behind })
	inRooms(counter, "pages_total", "Pages of the log read for catch-up and history.", func(s *Server) int64 { return s.rooms.Stats().Pages })
	inRooms(counter, "pages_damaged_total", "Pages of the log that could not be read.", func(s *Server) int64 { return s.rooms.Stats().DamagedPages })

	inRooms(counter, "rate_buckets_evicted_total", "Buckets of rates that were forgotten before they were full, for want of room.", func(s *Server) int64 { return int64(s.engine.Evicted()) })
	inRooms(counter, "audit_failures_total", "Lines of the audit log that could not be written.", func(s *Server) int64 { return s.audit.Failures() })
	inRooms(gauge, "revocations", "Revocations of tokens and users that are kept.", func(s *Server) int64 { return int64(s.revocations.Len()) })
	inRooms(gauge, "jwks_keys", "Keys of the issuer's key set in force.", func(s *Server) int64 { return int64(s.keySet.stats().Keys) })
	inRooms(gauge, "jwks_age_seconds", "Since the issuer's keys were last fetched, 0 if they never were.", func(s *Server) int64 { return int64(s.keySet.stats().Age.Seconds()) })
	inRooms(counter, "jwks_fetches_total", "Fetches of the issuer's keys.", func(s *Server) int64 { return int64(s.keySet.stats().Fetches) })
	inRooms(counter, "jwks_fetch_failures_total", "Fetches of the issuer's keys that failed; the old keys stay good.", func(s *Server) int64 { return int64(s.keySet.stats().Failed) })
	inRooms(gauge, "oidc_ready", "1 while people can be sent to the provider to sign in.", func(s *Server) int64 {
		if s.signIn != nil && s.signIn.Ready() {
			return 1
		}
		return 0
	})
	inRooms(counter, "oidc_signins_total", "Sessions of the page that began.", func(s *Server) int64 { return s.signInStats().SignedIn })
	inRooms(counter, "oidc_signin_failures_total", "Sign-ins that came to nothing.", func(s *Server) int64 { return s.signInStats().Failed })
	inRooms(counter, "oidc_tokens_total", "Tokens given to the page.", func(s *Server) int64 { return s.signInStats().Tokens })

	inPush := func(kind prometheus.ValueType, name, help string, read func(push.Stats) int64) {
		inRooms(kind, name, help, func(s *Server) int64 { return read(s.pushStats()) })
	}
	inPush(counter, "push_sent_total", "Summaries of undelivered messages that were taken.", func(st push.Stats) int64 { return st.Sent })
	inPush(counter, "push_failures_total", "Attempts to send a summary that will be made again.", func(st push.Stats) int64 { return st.Failed })
	inPush(counter, "push_died_total", "Summaries that became dead letters.", func(st push.Stats) int64 { return st.Died })
	inPush(counter, "push_dead_lost_total", "Dead letters that went for want of room.", func(st push.Stats) int64 { return st.Lost })
	inPush(counter, "push_dropped_total", "Messages for a user that were left out of summaries for want of room.", func(st push.Stats) int64 { return st.Dropped })
	inPush(counter, "push_cancelled_total", "Summaries of which nothing was left before they were sent.", func(st push.Stats) int64 { return st.Cancelled })
	inPush(counter, "push_gone_total", "Summaries for a device that was no more.", func(st push.Stats) int64 { return st.Gone })
	inPush(gauge, "push_users", "Users for whom something is gathered, or whose window is not over.", func(st push.Stats) int64 { return st.Users })
	inPush(gauge, "push_queued", "Summaries that wait or are being sent.", func(st push.Stats) int64 { return st.Queued })
	inPush(gauge, "push_dead", "Dead letters.", func(st push.Stats) int64 { return st.Dead })
	inPush(gauge, "push_bytes", "Memory of what is gathered and queued, about.", func(st push.Stats) int64 { return st.Bytes })
	inPush(gauge, "push_behind_bytes", "Bytes of the log that push has not read yet.", func(st push.Stats) int64 { return st.Behind })

	inHooks := func(name, help string, read func(consult.EventStats) int64) {
		m.hooks = append(m.hooks, hookMetric{desc(name, help, "event"), read})
	}
	inHooks("webhook_asked_total", "Questions to the application, by event.", func(e consult.EventStats) int64 { return e.Asked })
	inHooks("webhook_refused_total", "What the application refused, by event.", func(e consult.EventStats) int64 { return e.Refused })
	inHooks("webhook_changed_total", "What the application changed: rights of a connect, content of a publish.", func(e consult.EventStats) int64 { return e.Changed })
	inHooks("webhook_failed_total", "What the application did not answer, or was not asked since it does not answer.", func(e consult.EventStats) int64 { return e.Failed })
	inHooks("webhook_overloaded_total", "What was refused since too much waited for the application.", func(e consult.EventStats) int64 { return e.Overloaded })
	inConsult := func(kind prometheus.ValueType, name, help string, read func(consult.Stats) int64) {
		inRooms(kind, name, help, func(s *Server) int64 { return read(s.consultStats()) })
	}
	inConsult(gauge, "webhook_waiting", "Connects and publishes that wait for the application, or it is being asked about.", func(st consult.Stats) int64 { return int64(st.Waiting) })
	inConsult(gauge, "webhook_waiting_bytes", "Memory of what waits for the application, about.", func(st consult.Stats) int64 { return int64(st.Bytes) })
	inConsult(gauge, "webhook_down", "1 while the application does not answer and is asked once a second only.", func(st consult.Stats) int64 {
		if st.Down {
			return 1
		}
		return 0
	})
	inConsult(counter, "webhook_disconnects_untold_total", "Ends of sessions that the application was not told, for want of room or an answer.", func(st consult.Stats) int64 { return st.EndedDropped + st.EndedFailed })
	inNotices := func(kind prometheus.ValueType, name, help string, read func(notice.Stats) int64) {
		inRooms(kind, name, help, func(s *Server) int64 { return read(s.noticeStats()) })
	}
	inNotices(counter, "webhook_notices_sent_total", "Notices of members that were taken.", func(st notice.Stats) int64 { return st.Sent })
	inNotices(counter, "webhook_notice_failures_total", "Attempts to send a notice of members that will be made again.", func(st notice.Stats) int64 { return st.Failed })
	inNotices(counter, "webhook_notices_died_total", "Notices of members that became dead letters.", func(st notice.Stats) int64 { return st.Died })
	inNotices(counter, "webhook_notices_lost_total", "Dead notices that went for want of room, and records that were replaced before they were read.", func(st notice.Stats) int64 { return st.Lost + st.Missed })
	inNotices(gauge, "webhook_notices_waiting", "Notices of members that wait or are being sent.", func(st notice.Stats) int64 { return st.Waiting })
	inNotices(gauge, "webhook_notices_dead", "Notices of members that are dead letters.", func(st notice.Stats) int64 { return st.Dead })

	inLog := func(kind prometheus.ValueType, name, help string, read func(commitlog.Stats) float64) {
		m.log = append(m.log, logMetric{desc(name, help), kind, read})
	}
	inLog(gauge, "log_bytes", "Size of the log.", func(st commitlog.Stats) float64 { return float64(st.Bytes) })
	inLog(gauge, "log_segments", "Files of the log.", func(st commitlog.Stats) float64 { return float64(st.Segments) })
	inLog(gauge, "log_open_files", "Files of the log that are open now.", func(st commitlog.Stats) float64 { return float64(st.OpenFiles) })
	inLog(gauge, "log_rooms", "Rooms with messages.", func(st commitlog.Stats) float64 { return float64(st.Rooms) })
	inLog(gauge, "log_queue_bytes", "Messages waiting for the committer.", func(st commitlog.Stats) float64 { return float64(st.QueueBytes) })
	inLog(gauge, "log_dead_bytes", "Bytes of the log that retention has taken and that are not given back yet, about.", func(st commitlog.Stats) float64 { return float64(st.DeadBytes) })
	inLog(counter, "log_expired_records_total", "Messages that retention has taken since the start.", func(st commitlog.Stats) float64 { return float64(st.DroppedRecords) })
	inLog(counter, "log_freed_bytes_total", "Bytes that retention has given back to the disk since the start.", func(st commitlog.Stats) float64 { return float64(st.FreedBytes) })
	inLog(counter, "log_rewrites_total", "Times that files of the log were rewritten without what expired.", func(st commitlog.Stats) float64 { return float64(st.Rewrites) })
	inLog(counter, "log_retention_failures_total", "Times that retention did not finish; it tries again.", func(st commitlog.Stats) float64 { return float64(st.RetentionFailures) })
	inLog(counter, "log_damage_total", "Damaged places that were found when the log was opened.", func(st commitlog.Stats) float64 { return float64(st.Damage) })
	inLog(counter, "log_records_total", "Records committed since the start.", func(st commitlog.Stats) float64 { return float64(st.Records) })

	// Of the file system: it decides when a log that takes everything takes nothing.
	inRooms(gauge, "disk_free_bytes", "Bytes that the process may still write to the file system of the log, -1 if it can't be asked.", func(s *Server) int64 { return diskOf(s.cfg.Data).free })
	inRooms(gauge, "disk_bytes", "Size of the file system of the log, -1 if it can't be asked.", func(s *Server) int64 { return diskOf(s.cfg.Data).size })

	inCatalog := func(kind prometheus.ValueType, name, help string, read func(catalog.Stats) float64) {
		m.catalog = append(m.catalog, catalogMetric{desc(name, help), kind, read})
	}
	inCatalog(gauge, "catalog_entries", "Entries of the catalog.", func(st catalog.Stats) float64 { return float64(st.Entries) })
	inCatalog(gauge, "catalog_bytes", "Keys and values of the catalog.", func(st catalog.Stats) float64 { return float64(st.Bytes) })
	inCatalog(gauge, "catalog_since_snapshot_bytes", "Changes of the catalog since its newest snapshot.", func(st catalog.Stats) float64 { return float64(st.SinceSnapshotBytes) })
	inCatalog(counter, "catalog_snapshots_total", "Snapshots of the catalog since the start.", func(st catalog.Stats) float64 { return float64(st.Snapshots) })
	inCatalog(counter, "catalog_updates_total", "Updates of the catalog since the start.", func(st catalog.Stats) float64 { return float64(st.Updates) })
	inCatalog(counter, "catalog_updates_refused_total", "Updates of the catalog refused because too much waited.", func(st catalog.Stats) float64 { return float64(st.Refused) })
	inShip := func(kind prometheus.ValueType, name, help string, read func(ship.Stats) float64) {
		m.ship = append(m.ship, shipMetric{desc(name, help), kind, read})
	}
	inShip(gauge, "ship_lag_seconds", "Since when the shipped copy lacks something that was committed, 0 while it has all.", func(st ship.Stats) float64 { return st.Behind.Seconds() })
	inShip(gauge, "ship_refused", "1 while the log is not shipped, since its place holds something else.", func(st ship.Stats) float64 {
		if st.Refused {
			return 1
		}
		return 0
	})
	inShip(counter, "ship_errors_total", "Attempts to ship the log that failed.", func(st ship.Stats) float64 { return float64(st.Errors) })
	inShip(counter, "ship_bytes_total", "Bytes put to where the log is shipped.", func(st ship.Stats) float64 { return float64(st.Bytes) })
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, out)
	out <- tlsMetrics.expires // is there from the first certificate on
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	counters := m.server.engine.Counters()
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	sum := func(read func(*loop.Counters) int64) float64 {
		var total int64
		for _, c := range counters {
			total += read(c)
		}
		return float64(total)
	}
	for _, l := range m.loops {
		value(l.desc, l.kind, sum(l.read))
	}
	for i, waiting := range m.server.engine.Waiting() {
		label := strconv.Itoa(i)
		value(m.loopConnections, gauge, float64(counters[i].Connections.Load()), label)
		value(m.loopDeliveries, counter, float64(counters[i].Deliveries.Load()), label)
		value(m.loopMailbox, gauge, float64(waiting), label)
	}
	for i, shard := range m.server.rooms.Stats().Shards {
		label := strconv.Itoa(i)
		value(m.shardPublished, counter, float64(shard.Published), label)
		value(m.shardMailbox, gauge, float64(shard.MailboxBytes), label)
	}
	codes := proto.CloseCodes()
	for i := range len(codes) + 1 {
		label := "peer"
		if i < len(codes) {
			label = codes[i].Name
		}
		value(m.closed, counter, sum(func(c *loop.Counters) int64 { return c.Closed[i].Load() }), label)
	}
	for i, name := range loop.RefusalNames() {
		if name != "" {
			value(m.refused, counter, sum(func(c *loop.Counters) int64 { return c.Refused[i].Load() }), name)
		}
	}
	failed := m.server.accepts.Counts()
	for i, reason := range accept.ReasonNames() {
		value(m.acceptFailures, counter, float64(failed[i]), reason)
	}
	for i, name := range loop.DenialNames() {
		if name != "" {
			value(m.denied, counter, sum(func(c *loop.Counters) int64 { return c.Denied[i].Load() }), name)
		}
	}
	for i, reason := range loop.DropNames() {
		value(m.ephemeralDropped, counter, sum(func(c *loop.Counters) int64 { return c.EphemeralDropped[i].Load() }), reason)
	}
	for i, e := range proto.Errors() {
		value(m.errors, counter, sum(func(c *loop.Counters) int64 { return c.Errors[i].Load() }), e.Name)
	}
	value(m.capacity, gauge, float64(m.server.engine.Capacity()))
	for _, r := range m.rooms {
		value(r.desc, r.kind, float64(r.read(m.server)))
	}
	if m.server.consult != nil {
		m.collectHooks(value, out)
	}
	m.collectTLS(value)
	stats := m.server.store.Stats()
	for _, l := range m.log {
		value(l.desc, l.kind, l.read(stats))
	}
	known := m.server.catalog.Stats()
	for _, c := range m.catalog {
		value(c.desc, c.kind, c.read(known))
	}
	fault := 0.0
	if m.server.store.Err() != nil {
		fault = 1
	}
	value(faultDesc, gauge, fault)
	if m.server.shipper != nil {
		stats := m.server.shipper.Stats()
		for _, sh := range m.ship {
			value(sh.desc, sh.kind, sh.read(stats))
		}
	}
	out <- histogram(m.syncSeconds, stats.SyncSeconds, stats.Syncs)
	out <- histogram(m.batchRecords, stats.BatchRecords, stats.Batches)
	took := m.server.rooms.Stats().Latency
	out <- histogram(m.publishSeconds, commitlog.Histogram(took), took.Counts[len(took.Counts)-1])
}

// collectHooks gives what is counted of each event that an application may be asked about.
func (m *metrics) collectHooks(value func(*prometheus.Desc, prometheus.ValueType, float64, ...string), out chan<- prometheus.Metric) {
	stats := m.server.consultStats()
	for i, name := range consult.EventNames() {
		e := stats.Events[i]
		for _, h := range m.hooks {
			value(h.desc, counter, float64(h.read(e)), name)
		}
		out <- prometheus.MustNewConstHistogram(m.hookSeconds, uint64(e.Asked), e.Sum, e.Seconds, name)
	}
}

var faultDesc = desc("log_fault", "1 while the log can't be written and publishes fail.")

func histogram(d *prometheus.Desc, h commitlog.Histogram, count uint64) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, bound := range h.Bounds[:len(h.Bounds)-1] { // the last is +Inf, which is the count
		buckets[bound] = h.Counts[i]
	}
	return prometheus.MustNewConstHistogram(d, count, h.Sum, buckets)
}
