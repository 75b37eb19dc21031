package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/loop"
	"rookery/storage/vfs"
)

// Config is what the gateway is told before it starts. DefaultConfig gives the values
// that the field comments name, LoadConfig lays a file, the environment and flags over
// them, Validate says what can't work. After validation nothing changes a Config: it is
// copied freely and read from any goroutine.
//
// The same text, one row for each setting with the name that users write, is
// docs/configuration.md; a test keeps the two in step.
type Config struct {
	// Listen is the public address, host:port: WebSocket, HTTP and raw TCP. Default
	// ":8080", all addresses. Port 0 takes any free port.
	Listen string
	// Admin is the address for metrics, health, pprof, the policies of rooms and the server API. Default
	// "127.0.0.1:9090". Empty turns it off. Only the API asks for a key: keep it off public addresses.
	Admin string
	// AdminHosts are names under which browsers may use the operator's page on Admin, and act there, and under which anybody may read there what is of
	// people. Default none: addresses and localhost.
	AdminHosts []string
	// AuditFile is where it is written down what operators and backends do at Admin. Default empty, nowhere.
	AuditFile string
	// Data is the directory of the log. Default "data". One process at a time.
	Data string
	// Dev is development mode, default false: whoever connects picks a name and needs no
	// token, /echo is there, pages of every origin are let in, and the caps and rates of
	// Limits default to none. Never on an address that strangers reach.
	Dev bool

	// Loops is the number of event loops. Default 0, one per core. Lower it to leave
	// cores to other programs.
	Loops int
	// Shards is the number of goroutines that order the rooms. Default 0, the larger of 2
	// and the number of cores.
	Shards int
	// Heartbeat is how often a silent connection is asked whether it lives. Default 25 s,
	// under the 30 s after which the strictest common proxies cut an idle connection.
	Heartbeat time.Duration
	// RetryWindow is how long a publisher's retry key is remembered, also across a
	// restart. Default 10 min. Longer costs memory for each message in the window.
	RetryWindow time.Duration

	TLS       TLSConfig
	AdminTLS  AdminTLSConfig
	Auth      AuthConfig
	API       APIConfig
	Proxy     ProxyConfig
	Limits    LimitsConfig
	Rooms     RoomsConfig
	Log       LogConfig
	Retention RetentionConfig
	Ship      ShipConfig
	Push      PushConfig
	OIDC      OIDCConfig
	Webhooks  WebhooksConfig
	Drain     DrainConfig
	Logging   LoggingConfig

	// sources says where LoadConfig found a setting, by name. What is absent has its
	// default, or was set by the program.
	sources map[string]string
	// fs is the file system of the log, nil for the disk: tests have one that fails.
	fs vfs.FS
}

// AuthConfig says whose tokens are believed. Without development mode at least one key
// is required.
type AuthConfig struct {
	// HS256Secret is the secret that HS256 tokens are signed with, 32 bytes or more.
	// Default none. Prefer HS256SecretFile: an environment is easily printed.
	HS256Secret Secret
	// HS256SecretFile names the file that holds the secret; the line end behind it is not
	// part of it. Default none.
	HS256SecretFile string
	// PublicKeys are PEM files with a public key each (RSA: RS256, ECDSA P-256: ES256,
	// Ed25519: EdDSA), written path or kid=path. Default none.
	PublicKeys []string
	// JWKS is where the issuer publishes its keys as a JSON Web Key Set: https://…, http:// of this machine, or a file. Default
	// empty, none.
	JWKS string
	// JWKSRefresh is the longest time between two fetches of JWKS. Default 10 min. A token with an unknown kid
	// brings the next forward.
	JWKSRefresh time.Duration
	// Issuer is what a token's iss has to be. Default empty, not checked.
	Issuer string
	// Audience is what a token's aud has to contain. Default empty, not checked.
	Audience string
	// MaxLifetime is how long a token may still live when it is used. Default 0, any time. What is revoked is kept for so long.
	MaxLifetime time.Duration
	// Leeway is how far the clocks of issuer and server may differ. Default 30 s.
	Leeway time.Duration
}

// APIConfig says who may use the server API, on the admin listener. Without a key it is off.
type APIConfig struct {
	// Keys are the keys, one a line: a name, scopes with commas between them, the secret. Default none. Prefer KeysFile: an
	// environment is easily printed.
	Keys Secret
	// KeysFile names the file that holds the keys. Default none.
	KeysFile string
}

// LimitsConfig bounds what peers can make the server do. Where 0 means none, it says so.
type LimitsConfig struct {
	// Connections is the most connections at once. Default 0: what the descriptor limit
	// of the process allows, less a reserve.
	Connections int
	// ConnectionsPerIP is the most connections of one address. Default 1000, in
	// development mode 0; 0 is none. Raise it where many users share an address.
	ConnectionsPerIP int
	// ConnectionsPerUser is the most connections of one user. Default 20, in development
	// mode 0; 0 is none.
	ConnectionsPerUser int
	// MessagesPerSecond is how many messages a user may publish, on average. Default 20, in
	// development mode 0; 0 is none.
	MessagesPerSecond int
	// MessageBurst is how many messages a user who was silent may publish at once.
	// Default 40.
	MessageBurst int
	// Rates are more rates, "SCOPE OPERATION RATE/s burst BURST": what a user, an address or a room may do of one operation,
	// on average and at once after silence. Default as in DefaultConfig, in development mode none; "off" alone is none.
	Rates []string
	// ClaimedRates is how many times the rate of a user the claim "limits" of a token may give. Default 1: it may lower only.
	ClaimedRates int
	// MessageBytes is the largest frame taken from a client. Default 64 KiB, at most
	// proto.MaxFrameBytes (1 MiB).
	MessageBytes int
	// RoomsPerConnection is the most rooms that one connection may have joined. Default 1000.
	RoomsPerConnection int
	// RoomsPerUser is the most rooms that a user may be a member of. Default 10,000. Each costs some 480 bytes of memory.
	RoomsPerUser int
	// MembersPerRoom is the most members of a room. Default 100,000.
	MembersPerRoom int
	// HandshakeTimeout is the time for each step to a session: the first request, and from the
	// upgrade or preface to connect. Default 5 s.
	HandshakeTimeout time.Duration
	// HeaderBytes is the largest HTTP request head. Default 8 KiB. Raise it if single
	// sign-on in front puts large cookies into it.
	HeaderBytes int
	// FrameTimeout is how long half a frame may wait for its rest. Default 10 s.
	FrameTimeout time.Duration
	// OutboundBytes is the most that waits to be sent to one connection. Default 1 MiB, at
	// least 256 KiB and six times MessageBytes: a page with the largest message in JSON. At most 128 MiB:
	// what goes along in a takeover.
	OutboundBytes int
	// OutboundTotalBytes is the most that waits for all connections together. Default 256
	// MiB. Leave room for it in the memory limit of the process.
	OutboundTotalBytes int
	// StallTimeout is when a consumer that takes nothing at all is closed. Default 60 s.
	StallTimeout time.Duration
	// Origins are the origins of pages that may open a WebSocket, scheme://host[:port], or
	// "*" for all. Default empty: pages of the server's own host; in development mode all.
	// Requests without an Origin header come from no page and are not checked.
	Origins []string
}

// RoomsConfig says what rooms are like.
type RoomsConfig struct {
	// Ephemeral are patterns of the rooms in which nothing is stored: each publish goes to who is there
	// now, and there is no history. Default none. What the log has of such a room stays there, unseen.
	Ephemeral []string
	// Receipts are patterns of the rooms that keep how far each user has come; ephemeral ones never do. Default all.
	Receipts []string
	// Presence are patterns of the rooms in which everybody may know who else is there. Default all.
	Presence []string
	// PresenceGrace is how long somebody whose last connection has gone is still there. Default 20 s.
	PresenceGrace time.Duration
	// LastSeen has it stored when users were last there, and members of rooms with presence told. Default true.
	LastSeen bool
	// Gather are rules for rooms whose messages are to gather before they leave, "PATTERN 50ms": the first that matches
	// counts. What gathers costs a write for each member together instead of one for each message. Default none: nothing waits.
	Gather []string
	// EditWindow are rules for rooms in which a message can be edited and deleted by its author for some time only,
	// "PATTERN 15m", from 0s, never, on: the first that matches counts. Default none: at any time.
	EditWindow []string
	// Pins are patterns of the rooms in which everybody who may write pins messages; in others moderators do. Default all.
	Pins []string
	// Members are rules for the rooms that have members, "PATTERN open", group or direct: the first that matches counts. All others
	// are for whoever has a token for them. Default "direct:* direct", "group:* group" and "channel:* open".
	Members []string
}

// timeRule is a rule of RoomsConfig.Gather or RoomsConfig.EditWindow.
type timeRule struct {
	pattern string
	window  time.Duration
}

func (c RoomsConfig) gatherRules() ([]timeRule, error) {
	return timeRules(c.Gather, "ticker-* 50ms", time.Millisecond, loop.MaxWindow)
}

func (c RoomsConfig) editRules() ([]timeRule, error) {
	return timeRules(c.EditWindow, "support-* 15m", 0, century)
}

// timeRules reads rules of a pattern and a time each.
func timeRules(texts []string, example string, least, most time.Duration) (rules []timeRule, err error) {
	for _, text := range texts {
		space := strings.LastIndexByte(text, ' ')
		if space < 0 {
			return nil, fmt.Errorf("has the rule %q, which names no time; write a pattern and then a time, like '%s'", text, example)
		}
		rule := timeRule{pattern: strings.TrimSpace(text[:space])}
		if err := identity.CheckPattern(rule.pattern); err != nil {
			return nil, fmt.Errorf("has the rule %q, whose %w", text, err)
		}
		v := durationValue{&rule.window, least, most}
		if err := v.Set(text[space+1:]); err != nil {
			return nil, fmt.Errorf("has the rule %q, whose time %w", text, err)
		}
		if reason := v.fault(); reason != "" {
			return nil, fmt.Errorf("has the rule %q, whose time %s", text, reason)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// window is the time of the first rule for a room, false if there is none.
func window(rules []timeRule, room string) (time.Duration, bool) {
	for _, rule := range rules {
		if identity.Matches(rule.pattern, room) {
			return rule.window, true
		}
	}
	return 0, false
}

func (c RoomsConfig) ephemeral(room string) bool { return anyMatches(c.Ephemeral, room) }

// receipts says which rooms keep receipts.
func (c RoomsConfig) receipts(room string) bool {
	return anyMatches(c.Receipts, room) && !c.ephemeral(room)
}

func (c RoomsConfig) membersPin(room string) bool { return anyMatches(c.Pins, room) }

// presence says in which rooms everybody may know who else is there.
func (c RoomsConfig) presence(room string) bool { return anyMatches(c.Presence, room) }

func anyMatches(patterns []string, room string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return identity.Matches(pattern, room) })
}

// LogConfig is the durable log's.
type LogConfig struct {
	// Sync says when an acknowledged message is on disk. Default SyncAlways.
	Sync SyncMode
	// SyncInterval is the most that a crash of the machine may lose under SyncInterval.
	// Default 1 s; the other modes don't read it.
	SyncInterval time.Duration
	// SegmentBytes is the size at which a new file is begun. Default 128 MiB. Space is
	// given back by whole files.
	SegmentBytes int64
}

// RetentionConfig says how much of a room is kept, the oldest messages going first. What is beyond
// any of the bounds goes. A room that has a policy of its own in the catalog is not asked for here.
type RetentionConfig struct {
	// Age is how old messages get. Default 0, any age.
	Age time.Duration
	// Messages is how many messages a room keeps. Default 0, all.
	Messages int
	// Bytes is how much a room keeps, names and headers included. Default 0, all.
	Bytes int64
	// Rooms are rules for rooms that differ, "PATTERN age=720h messages=1000 bytes=1GiB": the first
	// that matches counts instead of the three above, and a bound that it does not name is none.
	// Default none.
	Rooms []string
}

// SyncMode says what an acknowledgement promises.
type SyncMode string

// What a message that was acknowledged survives. All three survive a crash of the process.
const (
	// SyncAlways: synced before it is acknowledged; survives power loss.
	SyncAlways SyncMode = "always"
	// SyncInterval: power loss may take what the last LogConfig.SyncInterval acknowledged.
	SyncInterval SyncMode = "interval"
	// SyncNever: the kernel decides when it writes, commonly within 30 s.
	SyncNever SyncMode = "never"
)

// ShipConfig says where a copy of the log is kept while it is written, docs/shipping.md. The keys of an
// S3-compatible store are no settings: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a file.
type ShipConfig struct {
	// To is a directory, path or file:///path, or s3://bucket/prefix. Default empty, off. The directory must
	// be there: one that is missing is taken for a mount that is.
	To string
	// Every is how far behind the log the copy is at most, while its place takes it. Default 5 s. Longer costs
	// fewer requests.
	Every time.Duration
	// S3Endpoint is https://host:port of the store, or http:// for one without TLS. Default empty, Amazon's.
	S3Endpoint string
	// S3Region is the bucket's region. Default empty: the store is asked.
	S3Region string
}

// DrainConfig is how the server leaves.
type DrainConfig struct {
	// Window is the time over which clients are told to spread their return. Default 10 s.
	Window time.Duration
	// Timeout is when the process ends whatever is unfinished. Default 30 s; keep it under
	// what the service manager waits before it kills (systemd: 90 s).
	Timeout time.Duration
}

// LoggingConfig is the server's own log lines, not the messages.
type LoggingConfig struct {
	// Level is the least level that is written. Default info.
	Level slog.Level
	// Format is "text" or "json". Default "text".
	Format string
}

// DefaultConfig returns the default of every setting, for production: it lacks a key, so
// it is only valid once Auth has one or Dev is set. LoadConfig with only --dev gives the
// defaults of development mode.
func DefaultConfig() Config {
	return Config{
		Listen:      ":8080",
		Admin:       "127.0.0.1:9090",
		Data:        "data",
		Heartbeat:   25 * time.Second,
		RetryWindow: 10 * time.Minute,
		TLS:         TLSConfig{MinVersion: TLS12, Kernel: KernelTLSOff, ACME: ACMEConfig{Directory: acme.LetsEncryptURL}},
		Auth:        AuthConfig{JWKSRefresh: 10 * time.Minute, Leeway: 30 * time.Second},
		Proxy:       ProxyConfig{Protocol: ProxyProtocolOff, SocketMode: "0660"},
		Rooms: RoomsConfig{
			Receipts: []string{"*"},
			Pins:     []string{"*"},
			Members:  []string{"direct:* direct", "group:* group", "channel:* open"},
			Presence: []string{"*"}, PresenceGrace: 20 * time.Second, LastSeen: true,
		},
		Limits: LimitsConfig{
			ConnectionsPerIP:   1000,
			ConnectionsPerUser: 20,
			MessagesPerSecond:  20,
			MessageBurst:       40,
			ClaimedRates:       1,
			Rates: []string{
				"user connect 5/s burst 50", "user join 50/s burst 5000", "user read 20/s burst 200",
				"user mark 100/s burst 2000", "user bytes 1MiB/s burst 4MiB",
				"address open 100/s burst 1000", "address connect 100/s burst 1000",
				"room publish 1000/s burst 5000",
			},
			MessageBytes:       64 << 10,
			RoomsPerConnection: 1000,
			RoomsPerUser:       10_000,
			MembersPerRoom:     100_000,
			HandshakeTimeout:   5 * time.Second,
			HeaderBytes:        8 << 10,
			FrameTimeout:       10 * time.Second,
			OutboundBytes:      1 << 20,
			OutboundTotalBytes: 256 << 20,
			StallTimeout:       time.Minute,
		},
		Log:  LogConfig{Sync: SyncAlways, SyncInterval: time.Second, SegmentBytes: 128 << 20},
		Ship: ShipConfig{Every: 5 * time.Second},
		Push: PushConfig{After: 30 * time.Second, Window: 5 * time.Minute, RoomMembers: 1000},
		OIDC: OIDCConfig{UserClaim: "sub", Session: 12 * time.Hour},
		Webhooks: WebhooksConfig{
			Rooms: []string{"*"}, Timeout: 2 * time.Second, Concurrency: 32, OnFailure: FailureRefuses,
		},
		Drain:   DrainConfig{Window: 10 * time.Second, Timeout: 30 * time.Second},
		Logging: LoggingConfig{Level: slog.LevelInfo, Format: "text"},
	}
}
