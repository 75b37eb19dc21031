package operator

import "time"

// Reading is what all owners have counted at a moment.
type Reading struct {
	At          time.Time
	Server      Server
	Connections Connections
	Memory      Memory
	Log         Log
	Ship        *Ship // nil: the log is not shipped
	Counts      Counts
	Publish     Histogram // publishes, from their place in the room to their acknowledgement
	Sync        Histogram // syncs of the log
	Refused     []Named   // connections turned away, by reason
	Errors      []Named   // requests answered with an error, by its name
	Denied      []Named   // whom the server turned away for what they did
	Closed      []Named   // connections ended, by code
	Loops       []Load
	Shards      []Load
	Waiting     int64 // bytes that sockets have not taken
	Behind      int64 // subscriptions served from memory or the log
	SlowMode    int   // users whose last message in a room in slow mode counts
}

// Server is what the process is and in which state.
type Server struct {
	Version string  `json:"version"`
	Uptime  float64 `json:"uptimeSeconds"`
	State   string  `json:"state"`             // starting, serving, draining or in trouble
	Problem string  `json:"problem,omitempty"` // why it is not ready
	Dev     bool    `json:"development"`
}

// Connections are those of now.
type Connections struct {
	Open          int64   `json:"open"`
	Capacity      int     `json:"capacity"`
	Sessions      int64   `json:"sessions"`
	Protocols     []Named `json:"protocols"` // of the sessions
	Subscriptions int64   `json:"subscriptions"`
	Rooms         int64   `json:"rooms"` // held in memory
}

// Memory is what the process and the kernel hold.
type Memory struct {
	Resident int64  `json:"residentBytes"`
	Heap     int64  `json:"heapBytes"`
	Recent   int64  `json:"recentBytes"` // last messages of rooms, kept for who is behind
	Kernel   Kernel `json:"kernel"`
}

// Log is how the log is.
type Log struct {
	Bytes             int64  `json:"bytes"`
	Segments          int    `json:"segments"`
	Rooms             int    `json:"rooms"`
	Records           uint64 `json:"records"`
	QueueBytes        int64  `json:"queueBytes"`
	Fault             string `json:"fault,omitempty"` // why it can't be written
	Damage            uint64 `json:"damagedPlaces"`
	DeadBytes         int64  `json:"deadBytes"` // taken by retention, not given back yet
	Expired           uint64 `json:"expiredRecords"`
	FreedBytes        int64  `json:"freedBytes"`
	RetentionFailures uint64 `json:"retentionFailures"`
}

// Ship is how the shipped copy is.
type Ship struct {
	Behind  float64 `json:"behindSeconds"`
	Errors  uint64  `json:"errors"`
	Refused bool    `json:"refused"`
}

// Counts only grow.
type Counts struct {
	Opened     int64 `json:"opened"`
	Requests   int64 `json:"requests"`
	Published  int64 `json:"published"`
	Ephemeral  int64 `json:"ephemeral"`
	Deliveries int64 `json:"deliveries"`
	Recent     int64 `json:"recentDeliveries"` // of them, those from memory for who is behind
	Pages      int64 `json:"pages"`            // of the log, read for who is behind and for history
	BytesIn    int64 `json:"bytesIn"`
	BytesOut   int64 `json:"bytesOut"`
	Batches    int64 `json:"commits"`
	Refused    int64 `json:"publishesRefused"`
}

// Named is a count under a name that is known when the server is built.
type Named struct {
	Name   string  `json:"name"`
	Count  int64   `json:"count"`
	Second float64 `json:"perSecond,omitempty"`
}

// Load is how much there is on one loop or shard.
type Load struct {
	Connections int64 `json:"connections,omitempty"`
	Mailbox     int64 `json:"mailboxBytes"`
}

// Survey is what only the tables of the loops know.
type Survey struct {
	Loops     int         `json:"loops"`
	Answered  int         `json:"answered"`
	Seconds   float64     `json:"seconds"` // over which deliveries were counted
	Behind    []Straggler `json:"behind"`
	Largest   []Room      `json:"largest"`
	Busiest   []Room      `json:"busiest"`
	Untallied int64       `json:"untallied"` // deliveries in rooms beyond those that are counted
}

// Straggler is a connection that does not take what it is sent.
type Straggler struct {
	User     string  `json:"user"`
	Session  string  `json:"session"`
	Protocol string  `json:"protocol"`
	Waiting  int64   `json:"waitingBytes"`
	Stalled  float64 `json:"stalledSeconds"`
	Rooms    int     `json:"roomsBehind"`
}

// Room has members in Largest, deliveries in Busiest.
type Room struct {
	Room  string `json:"room"`
	Count int64  `json:"count"`
}

// Look is what a viewer is given.
type Look struct {
	At          int64       `json:"at"` // Unix milliseconds
	Server      Server      `json:"server"`
	Connections Connections `json:"connections"`
	Memory      LookMemory  `json:"memory"`
	Log         Log         `json:"log"`
	Ship        *Ship       `json:"ship"`
	Counts      Counts      `json:"counts"`
	Rates       Rates       `json:"rates"`
	Publish     Latency     `json:"publish"`
	Sync        Latency     `json:"sync"`
	Limits      Limits      `json:"limits"`
	Loops       []Load      `json:"loops"`
	Shards      []Load      `json:"shards"`
	Waiting     int64       `json:"outboundBytes"`
	Behind      int64       `json:"subscriptionsBehind"`
	SlowMode    int         `json:"slowMode"`
	Survey      Survey      `json:"survey"`
}

// LookMemory has beside what was read what that is for a connection. 0 where there is none.
type LookMemory struct {
	Memory
	PerConnection float64 `json:"perConnectionBytes"`
	PerSocket     float64 `json:"kernelPerSocketBytes"` // the kernel's, by all TCP sockets of the machine
}

// Limits are those that were hit: what has counted anything.
type Limits struct {
	Refused []Named `json:"refused"`
	Errors  []Named `json:"errors"`
	Denied  []Named `json:"denied"`
	Closed  []Named `json:"closed"`
}

// lookAt makes a look of the readings, the newest last.
func lookAt(readings []Reading, survey Survey) Look {
	now := readings[len(readings)-1]
	then := readings[max(0, len(readings)-1-rateSpan)]
	first := readings[0]
	seconds := now.At.Sub(then.At).Seconds()
	look := Look{
		At: now.At.UnixMilli(), Server: now.Server, Connections: now.Connections, Memory: LookMemory{Memory: now.Memory},
		Log: now.Log, Ship: now.Ship, Counts: now.Counts, Rates: ratesOf(now.Counts, then.Counts, seconds),
		Publish: latencyOf(now.Publish, first.Publish, now.At.Sub(first.At), now.Server.Uptime),
		Sync:    latencyOf(now.Sync, first.Sync, now.At.Sub(first.At), now.Server.Uptime),
		Limits: Limits{
			Refused: hit(now.Refused, then.Refused, seconds), Errors: hit(now.Errors, then.Errors, seconds),
			Denied: hit(now.Denied, then.Denied, seconds), Closed: hit(now.Closed, then.Closed, seconds),
		},
		Loops: now.Loops, Shards: now.Shards, Waiting: now.Waiting, Behind: now.Behind, SlowMode: now.SlowMode, Survey: survey,
	}
	if now.Connections.Open > 0 {
		look.Memory.PerConnection = float64(now.Memory.Resident) / float64(now.Connections.Open)
	}
	if k := now.Memory.Kernel; k.Sockets > 0 {
		look.Memory.PerSocket = float64(k.BufferBytes+k.SlabBytes) / float64(k.Sockets)
	}
	return look
}
