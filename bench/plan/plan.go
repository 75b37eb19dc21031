// Package plan says what a load run does: who connects to what, who joins which rooms, who sends how much,
// what goes wrong on purpose, and for how long. A scenario is a plan with a name; the same
// plan written as YAML can be changed and run.
//
//	plan.go       the plan
//	tls.go        its part about TLS
//	scenario.go   the named ones
//	yaml.go       reading and writing
//	check.go      what is refused, all faults at once
package plan

import "time"

// Plan is what one run does. It is immutable once it is checked.
type Plan struct {
	// Scenario names what the run is about, in reports. It changes nothing.
	Scenario string  `yaml:"scenario" json:"scenario"`
	Server   Server  `yaml:"server" json:"server"`
	Clients  Clients `yaml:"clients" json:"clients"`
	Rooms    Rooms   `yaml:"rooms" json:"rooms"`
	Publish  Publish `yaml:"publish" json:"publish"`
	Trouble  Trouble `yaml:"trouble" json:"trouble"`
	Time     Time    `yaml:"time" json:"time"`
	Find     Find    `yaml:"find" json:"find"`
	// Floor measures what a bare write and a bare read cost on this machine, before the connects and after the load.
	Floor bool `yaml:"floor" json:"floor,omitempty"`
	// Assert are conditions like "p99<50ms" or "lost==0"; one that does not hold fails the run.
	Assert []string `yaml:"assert" json:"assert,omitempty"`
}

// Server is what is put under load.
type Server struct {
	// Dialect is what is spoken: rookery, websocket, socket.io, centrifugo, mqtt.
	Dialect string `yaml:"dialect" json:"dialect"`
	// Targets are the addresses, used in turn: ws://host:port/path, tcp://host:port, and with TLS wss://host:port/path, tls://host:port.
	Targets []string `yaml:"targets" json:"targets"`
	// Codec is the form of Rookery's frames over WebSocket: binary or json.
	Codec string `yaml:"codec" json:"codec"`
	// Token is a JSON Web Token that every connection shows; Key is the secret (HS256) that a token of its own is
	// signed with for each. Neither: names of the development mode.
	Token string `yaml:"token" json:"-"`
	Key   string `yaml:"key" json:"-"`
	// TLS is for the targets that have it.
	TLS TLS `yaml:"tls" json:"tls,omitzero"`
	// QoS is the quality of service of MQTT, for publishes and subscriptions: 0 or 1.
	QoS int `yaml:"qos" json:"qos,omitempty"`
	// Template is what is said to a server of the dialect websocket.
	Template Template `yaml:"template" json:"template"`
	// Metrics is the address of the server's Prometheus metrics, like http://127.0.0.1:9090/metrics. Empty: none are read.
	Metrics string `yaml:"metrics" json:"metrics,omitempty"`
	// PID is the server's process on this host, 0: found by the port that it listens on, where it is
	// on this host; -1: not looked for.
	PID int `yaml:"pid" json:"pid,omitempty"`
}

// Template is what a generic WebSocket server is told, and how its messages are known. In the
// texts {room}, {user}, {id} (a number that counts) and {body} are replaced.
type Template struct {
	// Connect is sent once after the handshake, Join for each room, Leave, and Publish for each message; an empty one is not
	// sent. An empty Publish means "{body}".
	Connect string `yaml:"connect" json:"connect,omitempty"`
	Join    string `yaml:"join" json:"join,omitempty"`
	Leave   string `yaml:"leave" json:"leave,omitempty"`
	Publish string `yaml:"publish" json:"publish,omitempty"`
	// Joined is a text that is in the server's answer to a join. Empty: a join counts as answered when it is sent.
	Joined string `yaml:"joined" json:"joined,omitempty"`
	// Reaches says who gets a message: everyone (each connection, the sender too), others (all but the
	// sender), room (the members of its room, the sender too), room-others, sender (an echo). Empty: room
	// where there is a Join, everyone otherwise.
	Reaches string `yaml:"reaches" json:"reaches,omitempty"`
	// Binary sends binary messages instead of text.
	Binary bool `yaml:"binary" json:"binary,omitempty"`
}

// Clients are the connections.
type Clients struct {
	Connections int `yaml:"connections" json:"connections"`
	// Rate is how many connections are opened a second, 0: as fast as it goes.
	Rate float64 `yaml:"rate" json:"rate"`
	// Pending is how many may be on their way at once, over all workers. 0: 1,000, and 100 where a target has TLS, since a gateway
	// makes 128 handshakes at a time with one address.
	Pending int `yaml:"pending" json:"pending"`
	// Timeout is how long connect, handshake and join together may take.
	Timeout time.Duration `yaml:"timeout" json:"timeout"`
	// Retry is how a user comes back.
	Retry Retry `yaml:"retry" json:"retry"`
	// Sources are addresses, ranges (127.0.0.0/16) or interfaces (eth0) that connections come from, in turn. Empty: the
	// kernel's choice, and for loopback targets as many of 127.0.0.0/8 as are needed.
	Sources []string `yaml:"sources" json:"sources,omitempty"`
	// Workers is the number of processes on each host, 0: as many as the file descriptors need, one at least.
	Workers int `yaml:"workers" json:"workers"`
	// Hosts are other load hosts, each running "rookery bench agent": host:port.
	Hosts []string `yaml:"hosts" json:"hosts,omitempty"`
}

// Retry is how a user connects again that could not, or whose connection was lost. The wait before a try is drawn evenly between
// nothing and a bound, which is First at first and doubles with each try up to Most: people whose server was away don't come back
// in step.
type Retry struct {
	First time.Duration `yaml:"first" json:"first"`
	Most  time.Duration `yaml:"most" json:"most"`
	// For is how long a user tries; then it gives up. 0: until the end of the run.
	For time.Duration `yaml:"for" json:"for"`
}

// Rooms are what the connections are members of. Connection i joins the rooms i, i+1, … modulo Count.
type Rooms struct {
	Count int `yaml:"count" json:"count"`
	// PerConnection is how many rooms each connection joins; 0 joins none.
	PerConnection int `yaml:"per_connection" json:"per_connection"`
	// Prefix begins every name. Empty: one that no other run has, so that nothing old is in the rooms.
	Prefix string `yaml:"prefix" json:"prefix"`
	// Backlog is how many messages are in each room before the connections join it; they ask for all.
	Backlog int `yaml:"backlog" json:"backlog"`
	// Presence has everybody watch who is in the rooms that they join. Servers without it are not asked.
	Presence bool `yaml:"presence" json:"presence,omitempty"`
}

// Publish is the load. Sends follow a schedule that waits for nobody.
type Publish struct {
	// Rate is messages a second in all rooms together.
	Rate float64 `yaml:"rate" json:"rate"`
	// Closed, if it is not 0, is how many messages each room has under way, and stands in place of Rate: the next is sent when the sender
	// has its own back. Nobody writes like that, and latencies hide what waiting there is: it is for what a message
	// costs a server that is as busy as it can be.
	Closed int `yaml:"closed" json:"closed,omitempty"`
	// Arrivals spaces the sends: even, or poisson as independent people do.
	Arrivals string `yaml:"arrivals" json:"arrivals"`
	// Size is the length of a body in bytes, MinBody at least.
	Size int `yaml:"size" json:"size"`
	// Senders is how many members of each room send, in turn; 0: all.
	Senders int `yaml:"senders" json:"senders"`
	// Ephemeral messages are not stored; who is behind gets the newest of each sender only. Dialect rookery.
	Ephemeral bool `yaml:"ephemeral" json:"ephemeral,omitempty"`
	// Typing is the share of messages before which their sender says that it is typing, TypingAhead before, by an
	// ephemeral message. Servers without such messages are not told.
	Typing float64 `yaml:"typing" json:"typing,omitempty"`
	// Receipts is the longest that a member takes to mark what it got as read, half of it the shortest; what came meanwhile is marked
	// together. 0: nobody marks. Servers without receipts are not told.
	Receipts time.Duration `yaml:"receipts" json:"receipts,omitempty"`
}

// Sends says whether there is a load of messages.
func (p *Publish) Sends() bool { return p.Rate > 0 || p.Closed > 0 }

// TypingAhead is how long somebody types.
const TypingAhead = time.Second

// Trouble is what goes wrong on purpose, counted from the begin of the load.
type Trouble struct {
	// Stall: a share of the connections stops reading for a while.
	Stall Stall `yaml:"stall" json:"stall"`
	// Cut: a share of the connections is lost at once, and comes back.
	Cut Cut `yaml:"cut" json:"cut"`
	// Churn is how many connections a second leave for good and are replaced by new ones.
	Churn float64 `yaml:"churn" json:"churn"`
	// Moves is how many times a second a connection leaves a room and joins it again.
	Moves float64 `yaml:"moves" json:"moves"`
}

// Stall stops the reading of Share of the connections from At on for For.
type Stall struct {
	Share float64       `yaml:"share" json:"share"`
	At    time.Duration `yaml:"at" json:"at"`
	For   time.Duration `yaml:"for" json:"for"`
}

// Cut takes Share of the connections away at At.
type Cut struct {
	Share float64       `yaml:"share" json:"share"`
	At    time.Duration `yaml:"at" json:"at"`
	// How: close (with a Close frame), reset (RST), silent (nothing is read or answered any more, as behind a dead network; the
	// socket is closed when the connection is back by another one).
	How string `yaml:"how" json:"how"`
	// Within spreads the coming back evenly over this time, 0: all at once.
	Within time.Duration `yaml:"within" json:"within"`
}

// Time is how long the parts of a run take.
type Time struct {
	// Warmup is load that is not counted in latencies; losses always count.
	Warmup time.Duration `yaml:"warmup" json:"warmup"`
	// Duration is the load that counts.
	Duration time.Duration `yaml:"duration" json:"duration"`
	// Drain is how long to wait for what is still on its way: so long after the last of it that came, and DrainsAtMost times as long in all.
	// What comes later is missing.
	Drain time.Duration `yaml:"drain" json:"drain"`
}

// DrainsAtMost bounds the wait for a server that is far behind.
const DrainsAtMost = 6

// Find raises the load by steps until a threshold breaks.
type Find struct {
	// What is raised: publish.rate or clients.connections. Empty: nothing is.
	What string `yaml:"what" json:"what,omitempty"`
	// From is the first value; each step multiplies by Factor, and the last two are halved Refine times.
	From   float64 `yaml:"from" json:"from,omitempty"`
	Factor float64 `yaml:"factor" json:"factor,omitempty"`
	Refine int     `yaml:"refine" json:"refine,omitempty"`
	// Until are conditions as in Assert; the first step where one does not hold is beyond the knee. lost==0, missing==0,
	// duplicated==0, reordered==0 and foreign==0 are added unless a condition on the same count is there.
	Until []string `yaml:"until" json:"until,omitempty"`
}
