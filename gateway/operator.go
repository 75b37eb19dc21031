package gateway

import (
	"bytes"
	"context"
	"maps"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"

	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/operator"
	"rookery/proto"
	"rookery/storage/commitlog"
)

// newBoard makes what the operator's page reads.
func (s *Server) newBoard() *operator.Board {
	begun, version := time.Now(), buildVersion()
	return operator.New(operator.Config{
		Read: func() operator.Reading {
			r := s.reading()
			r.Server.Version, r.Server.Uptime = version, time.Since(begun).Seconds()
			return r
		},
		Survey:   s.survey,
		Settings: s.settingsInForce,
	})
}

// reading is what the owners have counted, as the metrics read it.
func (s *Server) reading() operator.Reading {
	log, rooms := s.store.Stats(), s.rooms.Stats()
	r := operator.Reading{
		At:     time.Now(),
		Server: operator.Server{State: "serving", Problem: s.unready(), Dev: s.cfg.Dev},
		Connections: operator.Connections{
			Open: int64(s.engine.Open()), Capacity: s.engine.Capacity(), Rooms: rooms.Rooms,
			Protocols: named(loop.ProtocolNames()),
		},
		Memory: operator.Memory{Resident: operator.ReadResident(), Heap: liveHeap(), Kernel: operator.ReadKernel()},
		Log: operator.Log{
			Bytes: log.Bytes, Segments: log.Segments, Rooms: log.Rooms, Records: log.Records, QueueBytes: int64(log.QueueBytes),
			Damage: log.Damage, DeadBytes: log.DeadBytes, Expired: log.DroppedRecords, FreedBytes: log.FreedBytes,
			RetentionFailures: log.RetentionFailures,
		},
		Counts: operator.Counts{
			Published: rooms.Published, Ephemeral: rooms.Ephemeral, Batches: int64(log.Batches), Refused: s.refusedLoad() + rooms.RefusedLog,
			Pages: rooms.Pages,
		},
		Publish:  operator.Histogram{Bounds: rooms.Latency.Bounds, Counts: rooms.Latency.Counts},
		Sync:     spread(log.SyncSeconds),
		Refused:  named(loop.RefusalNames()),
		Denied:   named(loop.DenialNames()),
		SlowMode: s.engine.Slowed(),
	}
	switch s.state.Load() {
	case starting:
		r.Server.State = "starting"
	case leaving:
		r.Server.State = "draining"
	default:
		if r.Server.Problem != "" {
			r.Server.State = "in trouble"
		}
	}
	if err := s.store.Err(); err != nil {
		r.Log.Fault = err.Error()
	}
	for _, e := range proto.Errors() {
		r.Errors = append(r.Errors, operator.Named{Name: e.Name})
	}
	for _, c := range proto.CloseCodes() {
		r.Closed = append(r.Closed, operator.Named{Name: c.Name})
	}
	r.Closed = append(r.Closed, operator.Named{Name: "peer"})
	waiting := s.engine.Waiting()
	for i, c := range s.engine.Counters() {
		addLoop(&r, c)
		r.Loops = append(r.Loops, operator.Load{Connections: c.Connections.Load(), Mailbox: waiting[i]})
	}
	for _, shard := range rooms.Shards {
		r.Shards = append(r.Shards, operator.Load{Mailbox: shard.MailboxBytes})
	}
	if s.shipper != nil {
		st := s.shipper.Stats()
		r.Ship = &operator.Ship{Behind: st.Behind.Seconds(), Errors: st.Errors, Refused: st.Refused}
	}
	return r
}

// addLoop adds what one loop has counted.
func addLoop(r *operator.Reading, c *loop.Counters) {
	r.Connections.Sessions += c.Sessions.Load()
	r.Connections.Subscriptions += c.Subscriptions.Load()
	r.Waiting += c.Buffered.Load()
	r.Behind += c.Behind.Load()
	r.Counts.Opened += c.Opened.Load()
	r.Counts.Requests += c.FramesIn.Load()
	r.Counts.Deliveries += c.Deliveries.Load() + c.EphemeralDelivered.Load()
	r.Counts.Recent += c.RecentDeliveries.Load()
	r.Memory.Recent += c.RecentBytes.Load()
	r.Counts.BytesIn += c.BytesIn.Load()
	r.Counts.BytesOut += c.BytesOut.Load()
	for i := range r.Connections.Protocols {
		r.Connections.Protocols[i].Count += c.Protocols[i].Load()
	}
	for i := range r.Refused {
		r.Refused[i].Count += c.Refused[i].Load()
	}
	for i := range r.Denied {
		r.Denied[i].Count += c.Denied[i].Load()
	}
	for i := range r.Closed {
		r.Closed[i].Count += c.Closed[i].Load()
	}
	for i := range r.Errors {
		r.Errors[i].Count += c.Errors[i].Load()
	}
}

func named(names []string) []operator.Named {
	list := make([]operator.Named, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	return list
}

func spread(h commitlog.Histogram) operator.Histogram {
	return operator.Histogram{Bounds: h.Bounds, Counts: h.Counts}
}

// survey asks the loops.
func (s *Server) survey(ctx context.Context) operator.Survey {
	found := s.engine.Survey(ctx)
	shown := operator.Survey{
		Loops: found.Loops, Answered: found.Answered, Seconds: found.Over.Seconds(), Untallied: found.Untallied,
		Behind: []operator.Straggler{}, Largest: []operator.Room{}, Busiest: []operator.Room{},
	}
	for _, b := range found.Behind {
		shown.Behind = append(shown.Behind, operator.Straggler{
			User: b.User, Session: b.Session, Protocol: b.Protocol, Waiting: b.Waiting, Stalled: b.Stalled.Seconds(), Rooms: b.Rooms,
		})
	}
	for _, r := range found.Largest {
		shown.Largest = append(shown.Largest, operator.Room(r))
	}
	for _, r := range found.Busiest {
		shown.Busiest = append(shown.Busiest, operator.Room(r))
	}
	return shown
}

// settingsInForce is the configuration as rookery config prints it.
func (s *Server) settingsInForce() []byte {
	var text bytes.Buffer
	_ = s.inForce.Load().Print(&text) // into memory
	return text.Bytes()
}

// reloaded is the configuration that is in force once cfg is: its reloadable settings, and the others as they were at the start. Secrets
// are left out, for it is shown.
func (s *Server) reloaded(cfg *Config) *Config {
	return withSettings(&s.cfg, cfg, s.canReload)
}

// withSettings is base with those settings of other that are chosen by their names, but for secrets, which have no text.
func withSettings(base, other *Config, chosen func(name string) bool) *Config {
	mixed := *base
	mixed.sources = maps.Clone(base.sources)
	for _, setting := range settings() {
		if setting.secret || !chosen(setting.name) {
			continue
		}
		if err := setting.value(&mixed).Set(setting.value(other).String()); err != nil {
			panic("BUG: the setting " + setting.name + " does not read what it writes: " + err.Error())
		}
		if mixed.sources != nil {
			mixed.sources[setting.name] = other.sources[setting.name]
		}
	}
	return &mixed
}

// liveHeap is what lived at the end of the last collection.
func liveHeap() int64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// buildVersion is what the toolchain wrote into the binary, "development build" if nothing.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "development build"
	}
	return info.Main.Version
}
