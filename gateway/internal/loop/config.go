package loop

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/gateway/internal/takeover"
)

// Rooms is what a loop needs of the room shards and log readers. Send and Read report false when
// a queue is full; then nothing was taken. Begin is the oldest message that is still there; it never waits for long.
type Rooms interface {
	Send(handoff.Command) bool
	Read(handoff.Read) bool
	Begin(room string) uint64
}

// Receipts is the keeper of receipts. It reports false when its queue is full; then nothing was taken.
type Receipts interface {
	Mark(handoff.Mark) bool
}

// Members is the keeper of members. Ask reports false when its queue is full; then nothing was taken. Banned says until when a user
// may not be on this server, 0 if they may; it never waits for long.
type Members interface {
	Ask(handoff.MemberRequest) bool
	Banned(user string) (until int64)
}

// Presence is the keeper of presence. Ask reports false when its queue is full; then nothing was taken. Tell is always taken.
type Presence interface {
	Ask(handoff.Presence) bool
	Tell(handoff.Presence)
}

// Site answers requests by HTTP that may have to wait for somebody. Serves says of which paths, as they are sent. Ask takes a
// request, whose body is not read, and the answer comes as the event Responded; it reports false when as many wait as may.
type Site interface {
	Serves(path string) bool
	Ask(to handoff.Handle, r *http.Request) bool
}

// Application is asked whether users may connect, and told when they have gone. Connect gives nil when it took the question, or says why
// it did not. Neither waits.
type Application interface {
	Connect(handoff.Connect) *handoff.Refusal
	Ended(handoff.Ended)
}

// Authenticator checks who a client is. Its errors are shown to the client. The token is lent, until it returns.
type Authenticator interface {
	Authenticate(token, name string) (identity.Identity, error)
}

// Config is what the loops are run with. Everything must be set; a limit of 0 is none where
// it says so.
type Config struct {
	Rooms    Rooms
	Receipts Receipts
	Members  Members
	Presence Presence
	// Application is asked about every connect; nil: nobody is.
	Application Application
	// Asks says in which rooms publishes are asked about. Asked like Ephemeral.
	Asks    func(room string) bool
	Rules   Rules
	Inboxes []*handoff.Mailbox[handoff.Event] // one for each loop
	Epoch   string
	// Returning are connections that come from another engine, by loop, with how many connections each loop has had; nil: none do.
	Returning   [][]takeover.Connection
	Generations []uint32
	Slow        []takeover.Slow // messages that count in slow mode
	// Kind says which rooms have members. Asked like Ephemeral. DirectRoom names the room of two users, "" if there are no such rooms.
	Kind       func(room string) handoff.RoomKind
	DirectRoom func(a, b string) string
	// Ephemeral says of which rooms nothing is stored. It is asked by every loop, and its answers
	// never change.
	Ephemeral func(room string) bool
	// KeepsReceipts says which rooms keep receipts. Asked like Ephemeral.
	KeepsReceipts func(room string) bool
	// MembersPin says in which rooms everybody may pin messages, and not moderators alone. Asked like Ephemeral.
	MembersPin func(room string) bool
	// SessionEnded is told whose session ended. It must not wait.
	SessionEnded func(user string)
	// KeepsPresence says of which rooms everybody in them may know who else is. Asked like Ephemeral.
	KeepsPresence func(room string) bool
	// Window is how long messages of a room gather before they are fanned out, up to MaxWindow; 0: they do not. Asked like Ephemeral.
	Window func(room string) time.Duration
	// AcceptFailed is told why a connection could not be accepted. It must not wait.
	AcceptFailed func(error)
	Log          *slog.Logger

	// Page gives the files of the chat page; Policy is their Content-Security-Policy.
	Page   func(path string) (File, bool)
	Policy string
	Site   Site // nil: none

	Development bool // /echo, and pages of any origin may connect

	MessageBytes       int // one WebSocket message or TCP frame
	HeaderBytes        int // head of an HTTP request
	RoomsPerConnection int
	OutboundBytes      int   // waiting for one connection
	OutboundTotal      int64 // waiting for all connections of all loops

	HandshakeTimeout time.Duration // first byte to upgrade, and upgrade to connect
	FrameTimeout     time.Duration // half a frame or message
	StallTimeout     time.Duration // a connection that takes nothing
	Heartbeat        time.Duration
	RetryWindow      time.Duration // a publish may be repeated with its key
}

// Rules are what may change while the loops run; Engine.SetRules replaces them as a whole.
type Rules struct {
	Auth    Authenticator
	Origins []string // scheme://host[:port] that pages may come from, or *; empty: our own host

	ConnectionsPerIP   int // 0: no cap
	ConnectionsPerUser int // 0: no cap
	Rates              rate.Rules

	Proxies       []netip.Prefix // whose word about the addresses of clients is believed
	ProxyProtocol ProxyProtocol
}

// MaxWindow is the longest gather window of a room.
const MaxWindow = 10 * time.Second

// RefusalReserve is how many connections over the limit are let in to be told so; more are
// closed at once. They need descriptors beside the capacity.
const RefusalReserve = 64

const (
	// sliceWrites is how many members a loop serves before it looks at its sockets again, and others have the
	// processor. At some 8 µs a write it is about a quarter of a millisecond.
	sliceWrites = 32
	// longestTurn is how many members a turn has at most, however much was read before it: some 40 ms.
	longestTurn = 4096
	// pacedTurn is how many slices a turn of a loop has that paces itself: see load.pace.
	pacedTurn = 4
	// batchBytes ends what of a room leaves in one piece. One message may be longer.
	batchBytes = 64 << 10
	// maxReading bounds the pages of catch-up that a loop has ordered from the log readers, and
	// those of history too: at most 64 and 128 KiB each, and one longest message; JSON
	// can take six times that.
	maxReading = 64
	// gatherBytes is how much a connection's own requests, or a burst in its rooms, may gather before it is written.
	gatherBytes = 256 << 10
	// maxReadings bounds the requests for history, receipts, members and presence that a connection has under way.
	maxReadings = 8
	// answerTimeout is how long the Site may take for an answer, which has a shorter limit of its own.
	answerTimeout = 30 * time.Second
	// closeTimeout is how long a peer may take to answer our Close.
	closeTimeout = time.Second
	// tick is the resolution of all deadlines.
	tick = 100 * time.Millisecond
)
