package gateway

import (
	"math"
	"strings"
	"time"

	"rookery/gateway/internal/takeover"
	"rookery/proto"
)

// A setting ties one field of Config to the names that users write. All names follow from
// the dotted one:
//
//	file         limits.message_bytes, nested or with the dots
//	environment  ROOKERY_LIMITS_MESSAGE_BYTES: upper case, dots become underscores
//	flag         --limits.message-bytes: underscores become hyphens
type setting struct {
	name string
	// usage is a line for --help: what it is, what 0 or empty means.
	usage string
	// development is the default in development mode, where it differs.
	development string
	// secret settings are never printed.
	secret bool
	// address settings are printed without what may be a secret in them: who is to be let in, and a query.
	address bool
	// value views the setting's field of a Config.
	value func(*Config) value
}

func (s setting) environment() string {
	return "ROOKERY_" + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

func (s setting) flag() string {
	return "--" + strings.ReplaceAll(s.name, "_", "-")
}

// Bounds that only exist to catch a slip of the hand: no one means a heartbeat of a year.
const (
	longest = 24 * time.Hour
	century = 100 * 365 * 24 * time.Hour
	many    = math.MaxInt32
)

// settings is the one list of all settings, in the order in which they are printed.
// A function, since nothing may change it.
func settings() []setting {
	return []setting{
		{name: "listen", usage: "public address, host:port: WebSocket, HTTP and raw TCP",
			value: func(c *Config) value { return stringValue{&c.Listen} }},
		{name: "admin", usage: "address of metrics, health, pprof and room policies, without a password; empty turns it off",
			value: func(c *Config) value { return stringValue{&c.Admin} }},
		{name: "admin_hosts", usage: "names under which browsers may use the operator's page, and anybody may read what tells of people, beside addresses and localhost",
			value: func(c *Config) value { return listValue{&c.AdminHosts} }},
		{name: "audit_file", usage: "file for what operators and backends do at the admin listener, a line of JSON each; empty is none",
			value: func(c *Config) value { return stringValue{&c.AuditFile} }},
		{name: "data", usage: "directory of the log",
			value: func(c *Config) value { return stringValue{&c.Data} }},
		{name: "dev", usage: "development mode: anyone connects under any name, no caps, /echo",
			value: func(c *Config) value { return boolValue{&c.Dev} }},
		{name: "loops", usage: "event loops; 0 is one per core",
			// gnet takes no more than 256 loops and uses fewer without a word.
			value: func(c *Config) value { return intValue{&c.Loops, 0, 256} }},
		{name: "shards", usage: "goroutines that order the rooms; 0 is the larger of 2 and the cores",
			value: func(c *Config) value { return intValue{&c.Shards, 0, 1024} }},
		{name: "heartbeat", usage: "how often a silent connection is asked whether it lives",
			value: func(c *Config) value { return durationValue{&c.Heartbeat, 100 * time.Millisecond, longest} }},
		{name: "retry_window", usage: "how long a publisher's retry key is remembered",
			value: func(c *Config) value { return durationValue{&c.RetryWindow, time.Second, 7 * longest} }},

		{name: "tls.listen", usage: "public address with TLS, host:port: https, wss and raw TCP; empty is off",
			value: func(c *Config) value { return stringValue{&c.TLS.Listen} }},
		{name: "tls.cert_files", usage: "certificate chains in PEM; the first that fits the name asked for is shown",
			value: func(c *Config) value { return listValue{&c.TLS.CertFiles} }},
		{name: "tls.key_files", usage: "their private keys in PEM, in the same order",
			value: func(c *Config) value { return listValue{&c.TLS.KeyFiles} }},
		{name: "tls.min_version", usage: "least version of TLS: 1.2 or 1.3",
			value: func(c *Config) value {
				return choiceValue[TLSVersion]{&c.TLS.MinVersion, []TLSVersion{TLS12, TLS13}}
			}},
		{name: "tls.kernel", usage: "who opens and seals records: off, always the process, or auto, the kernel where it can",
			value: func(c *Config) value {
				return choiceValue[KernelTLS]{&c.TLS.Kernel, []KernelTLS{KernelTLSOff, KernelTLSAuto}}
			}},
		{name: "tls.acme.domains", usage: "names for which certificates are had of an authority by ACME; without any it is off",
			value: func(c *Config) value { return listValue{&c.TLS.ACME.Domains} }},
		{name: "tls.acme.agree_terms", usage: "you agree to the terms of service of that authority",
			value: func(c *Config) value { return boolValue{&c.TLS.ACME.AgreeTerms} }},
		{name: "tls.acme.email", usage: "address that is told to it; empty is none",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.Email} }},
		{name: "tls.acme.directory", usage: "address of its directory", address: true,
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.Directory} }},
		{name: "tls.acme.ca_file", usage: "issuers in PEM of its own server's certificate; empty are the system's",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.CAFile} }},
		{name: "tls.acme.folder", usage: "folder of the account's key and of the certificates; empty is acme in the data directory",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.Folder} }},
		{name: "tls.acme.http", usage: "address at which it asks by http-01, host:port; empty: at tls.listen by tls-alpn-01",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.HTTP} }},
		{name: "tls.acme.profile", usage: "kind of certificate, of those that it has; empty is its default",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.Profile} }},
		{name: "tls.acme.eab_key_id", usage: "name of the key that binds the account to a customer of it; empty: none does",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.EABKeyID} }},
		{name: "tls.acme.eab_key_file", usage: "file that holds that key in base64url",
			value: func(c *Config) value { return stringValue{&c.TLS.ACME.EABKeyFile} }},
		{name: "admin_tls.cert_file", usage: "certificate chain of the admin listener in PEM; empty is plain HTTP",
			value: func(c *Config) value { return stringValue{&c.AdminTLS.CertFile} }},
		{name: "admin_tls.key_file", usage: "its private key in PEM",
			value: func(c *Config) value { return stringValue{&c.AdminTLS.KeyFile} }},
		{name: "admin_tls.client_ca_file", usage: "certificates in PEM of which one must have signed a client's; empty: clients need none",
			value: func(c *Config) value { return stringValue{&c.AdminTLS.ClientCAFile} }},

		{name: "auth.hs256_secret", usage: "secret of HS256 tokens, 32 bytes or more", secret: true,
			value: func(c *Config) value { return secretValue{&c.Auth.HS256Secret} }},
		{name: "auth.hs256_secret_file", usage: "file that holds the secret of HS256 tokens",
			value: func(c *Config) value { return stringValue{&c.Auth.HS256SecretFile} }},
		{name: "auth.public_keys", usage: "PEM files with the public keys of tokens, path or kid=path",
			value: func(c *Config) value { return listValue{&c.Auth.PublicKeys} }},
		{name: "auth.jwks", usage: "where the issuer publishes its keys as a JSON Web Key Set, https:// or a file; empty is none", address: true,
			value: func(c *Config) value { return stringValue{&c.Auth.JWKS} }},
		{name: "auth.jwks_refresh", usage: "longest time between two fetches of those keys",
			value: func(c *Config) value { return durationValue{&c.Auth.JWKSRefresh, 10 * time.Second, longest} }},
		{name: "auth.issuer", usage: "what a token's iss has to be; empty is not checked",
			value: func(c *Config) value { return stringValue{&c.Auth.Issuer} }},
		{name: "auth.audience", usage: "what a token's aud has to contain; empty is not checked",
			value: func(c *Config) value { return stringValue{&c.Auth.Audience} }},
		{name: "auth.max_lifetime", usage: "how long a token may still live when it is used; 0 is any time",
			value: func(c *Config) value { return durationValue{&c.Auth.MaxLifetime, 0, century} }},
		{name: "auth.leeway", usage: "how far the clocks of issuer and server may differ",
			value: func(c *Config) value { return durationValue{&c.Auth.Leeway, 0, 10 * time.Minute} }},

		{name: "oidc.issuer", usage: "OpenID Connect provider at which people sign in to the page, as it writes itself; empty is off", address: true,
			value: func(c *Config) value { return stringValue{&c.OIDC.Issuer} }},
		{name: "oidc.name", usage: "what the page calls it; empty is its host",
			value: func(c *Config) value { return stringValue{&c.OIDC.Name} }},
		{name: "oidc.client_id", usage: "what the provider calls this server",
			value: func(c *Config) value { return stringValue{&c.OIDC.ClientID} }},
		{name: "oidc.client_secret", usage: "secret that the provider knows this server by", secret: true,
			value: func(c *Config) value { return secretValue{&c.OIDC.ClientSecret} }},
		{name: "oidc.client_secret_file", usage: "file that holds that secret",
			value: func(c *Config) value { return stringValue{&c.OIDC.ClientSecretFile} }},
		{name: "oidc.redirect_url", usage: "way back from the provider, https://host/oidc/callback; empty is of the only origin of limits.origins", address: true,
			value: func(c *Config) value { return stringValue{&c.OIDC.RedirectURL} }},
		{name: "oidc.scopes", usage: "scopes to ask for beside openid, like profile",
			value: func(c *Config) value { return listValue{&c.OIDC.Scopes} }},
		{name: "oidc.user_claim", usage: "claim that has the user's name",
			value: func(c *Config) value { return stringValue{&c.OIDC.UserClaim} }},
		{name: "oidc.rights", usage: "what people may do by their claims, like 'groups staff rooms=team-* create=team-*'; without any everybody may all",
			value: func(c *Config) value { return listValue{&c.OIDC.Rights} }},
		{name: "oidc.session", usage: "how long somebody is signed in",
			value: func(c *Config) value { return durationValue{&c.OIDC.Session, time.Minute, 90 * longest} }},

		{name: "api.keys", usage: "keys of the server API, a line each: name, scopes, secret; without any it is off", secret: true,
			value: func(c *Config) value { return secretValue{&c.API.Keys} }},
		{name: "api.keys_file", usage: "file that holds the keys of the server API",
			value: func(c *Config) value { return stringValue{&c.API.KeysFile} }},

		{name: "proxy.trusted", usage: "networks or addresses of proxies whose word about clients' addresses is believed, like 10.0.0.0/24",
			value: func(c *Config) value { return listValue{&c.Proxy.Trusted} }},
		{name: "proxy.protocol", usage: "whether these begin connections with the PROXY protocol: off, optional or required; off is X-Forwarded-For only",
			value: func(c *Config) value {
				return choiceValue[ProxyProtocol]{&c.Proxy.Protocol, []ProxyProtocol{ProxyProtocolOff, ProxyProtocolOptional, ProxyProtocolRequired}}
			}},
		{name: "proxy.socket", usage: "Unix socket to listen on besides, for proxies of this machine; empty is none",
			value: func(c *Config) value { return stringValue{&c.Proxy.Socket} }},
		{name: "proxy.socket_mode", usage: "permissions of that socket, in octal",
			value: func(c *Config) value { return stringValue{&c.Proxy.SocketMode} }},

		{name: "limits.connections", usage: "most connections; 0 is what the descriptor limit allows",
			value: func(c *Config) value { return intValue{&c.Limits.Connections, 0, many} }},
		{name: "limits.connections_per_ip", usage: "most connections of one address; 0 is none", development: "0",
			value: func(c *Config) value { return intValue{&c.Limits.ConnectionsPerIP, 0, many} }},
		{name: "limits.connections_per_user", usage: "most connections of one user; 0 is none", development: "0",
			value: func(c *Config) value { return intValue{&c.Limits.ConnectionsPerUser, 0, many} }},
		{name: "limits.messages_per_second", usage: "messages a user may publish, on average; 0 is none", development: "0",
			value: func(c *Config) value { return intValue{&c.Limits.MessagesPerSecond, 0, many} }},
		{name: "limits.message_burst", usage: "messages a user who was silent may publish at once",
			value: func(c *Config) value { return intValue{&c.Limits.MessageBurst, 1, many} }},
		{name: "limits.rates", usage: "more rates, like 'user join 50/s burst 5000': of user, address or room; off is none", development: "off",
			value: func(c *Config) value { return listValue{&c.Limits.Rates} }},
		{name: "limits.claimed_rates", usage: "how many times the rate of a user a token may claim; 1: it may lower only",
			value: func(c *Config) value { return intValue{&c.Limits.ClaimedRates, 1, 1_000_000} }},
		{name: "limits.message_bytes", usage: "largest frame taken from a client",
			value: func(c *Config) value { return sizeValue[int]{&c.Limits.MessageBytes, 1 << 10, proto.MaxFrameBytes} }},
		{name: "limits.rooms_per_connection", usage: "most rooms that one connection may have joined",
			value: func(c *Config) value { return intValue{&c.Limits.RoomsPerConnection, 1, many} }},
		{name: "limits.rooms_per_user", usage: "most rooms that a user may be a member of",
			value: func(c *Config) value { return intValue{&c.Limits.RoomsPerUser, 1, many} }},
		{name: "limits.members_per_room", usage: "most members of a room",
			value: func(c *Config) value { return intValue{&c.Limits.MembersPerRoom, 2, many} }},
		{name: "limits.handshake_timeout", usage: "time for each step to a session: the first request, then connect",
			value: func(c *Config) value {
				return durationValue{&c.Limits.HandshakeTimeout, 10 * time.Millisecond, longest}
			}},
		{name: "limits.header_bytes", usage: "largest HTTP request head",
			value: func(c *Config) value { return sizeValue[int]{&c.Limits.HeaderBytes, 512, 1 << 20} }},
		{name: "limits.frame_timeout", usage: "how long half a frame may wait for its rest",
			value: func(c *Config) value { return durationValue{&c.Limits.FrameTimeout, 10 * time.Millisecond, longest} }},
		{name: "limits.outbound_bytes", usage: "most that waits to be sent to one connection",
			value: func(c *Config) value { return sizeValue[int]{&c.Limits.OutboundBytes, 4 << 10, takeover.MaxOutbound} }},
		{name: "limits.outbound_total_bytes", usage: "most that waits for all connections together",
			value: func(c *Config) value { return sizeValue[int]{&c.Limits.OutboundTotalBytes, 64 << 10, math.MaxInt} }},
		{name: "limits.stall_timeout", usage: "when a consumer that takes nothing at all is closed",
			value: func(c *Config) value { return durationValue{&c.Limits.StallTimeout, 10 * time.Millisecond, longest} }},
		{name: "limits.origins", usage: "origins of pages that are let in, * for all; empty is the server's own host, in development mode all",
			value: func(c *Config) value { return listValue{&c.Limits.Origins} }},

		{name: "rooms.ephemeral", usage: "patterns of the rooms in which nothing is stored, like 'game-*'",
			value: func(c *Config) value { return listValue{&c.Rooms.Ephemeral} }},
		{name: "rooms.receipts", usage: "patterns of the rooms that keep who has which message and has read it, like 'team-*'",
			value: func(c *Config) value { return listValue{&c.Rooms.Receipts} }},
		{name: "rooms.presence", usage: "patterns of the rooms in which everybody may know who else is there, like 'team-*'",
			value: func(c *Config) value { return listValue{&c.Rooms.Presence} }},
		{name: "rooms.presence_grace", usage: "how long somebody whose last connection has gone is still there",
			value: func(c *Config) value { return durationValue{&c.Rooms.PresenceGrace, 0, time.Hour} }},
		{name: "rooms.last_seen", usage: "store when users were last there, and tell who is with them in a room with members",
			value: func(c *Config) value { return boolValue{&c.Rooms.LastSeen} }},
		{name: "rooms.gather", usage: "rooms whose messages gather before they leave, like 'ticker-* 50ms'; the first that matches counts",
			value: func(c *Config) value { return listValue{&c.Rooms.Gather} }},
		{name: "rooms.edit_window", usage: "how long messages can be edited and deleted by who wrote them, like 'support-* 15m'; the first that matches counts",
			value: func(c *Config) value { return listValue{&c.Rooms.EditWindow} }},
		{name: "rooms.pins", usage: "patterns of the rooms in which every member pins messages, like 'team-*'; in others moderators do",
			value: func(c *Config) value { return listValue{&c.Rooms.Pins} }},
		{name: "rooms.members", usage: "rooms that have members, like 'team-* group' (or open, or direct); the first that matches counts",
			value: func(c *Config) value { return listValue{&c.Rooms.Members} }},

		{name: "log.sync", usage: "when an acknowledged message is on disk: always, interval or never",
			value: func(c *Config) value {
				return choiceValue[SyncMode]{&c.Log.Sync, []SyncMode{SyncAlways, SyncInterval, SyncNever}}
			}},
		{name: "log.sync_interval", usage: "time between syncs, with log.sync interval",
			value: func(c *Config) value { return durationValue{&c.Log.SyncInterval, time.Millisecond, time.Hour} }},
		{name: "log.segment_bytes", usage: "size at which a new file of the log is begun",
			// The least holds the largest message with its header, so that a record never
			// needs more than one segment.
			value: func(c *Config) value { return sizeValue[int64]{&c.Log.SegmentBytes, 2 << 20, 1 << 30} }},

		{name: "retention.age", usage: "how old messages get; 0 is any age; a clock that jumps ahead is doubted for an hour",
			value: func(c *Config) value { return durationValue{&c.Retention.Age, 0, century} }},
		{name: "retention.messages", usage: "how many messages a room keeps; 0 is all",
			value: func(c *Config) value { return intValue{&c.Retention.Messages, 0, proto.MaxInteger} }},
		{name: "retention.bytes", usage: "how much a room keeps; 0 is all",
			value: func(c *Config) value { return sizeValue[int64]{&c.Retention.Bytes, 0, proto.MaxInteger} }},
		{name: "retention.rooms", usage: "rules for rooms that differ, like 'team-* age=720h messages=1000 bytes=1GiB'; the first that matches counts",
			value: func(c *Config) value { return listValue{&c.Retention.Rooms} }},
		{name: "ship.to", usage: "where a copy of the log is kept, /path, file:///path or s3://bucket/prefix; empty is off", address: true,
			value: func(c *Config) value { return stringValue{&c.Ship.To} }},
		{name: "ship.every", usage: "how far behind the log that copy is at most",
			value: func(c *Config) value { return durationValue{&c.Ship.Every, 100 * time.Millisecond, time.Hour} }},
		{name: "ship.s3_endpoint", usage: "address of the S3-compatible store, https://host:port; empty is Amazon's", address: true,
			value: func(c *Config) value { return stringValue{&c.Ship.S3Endpoint} }},
		{name: "ship.s3_region", usage: "region of the bucket; empty asks the store",
			value: func(c *Config) value { return stringValue{&c.Ship.S3Region} }},

		{name: "push.webhook", usage: "where to send who has undelivered messages, https://host/path; empty is off", address: true,
			value: func(c *Config) value { return stringValue{&c.Push.Webhook} }},
		{name: "push.secret", usage: "signs these requests: whsec_ and 24 to 64 bytes in base64", secret: true,
			value: func(c *Config) value { return secretValue{&c.Push.Secret} }},
		{name: "push.secret_file", usage: "file that holds this secret",
			value: func(c *Config) value { return stringValue{&c.Push.SecretFile} }},
		{name: "push.web_push_key", usage: "signs what is sent to push services of browsers: a P-256 key in base64url; empty is off", secret: true,
			value: func(c *Config) value { return secretValue{&c.Push.WebPushKey} }},
		{name: "push.web_push_key_file", usage: "file that holds this key",
			value: func(c *Config) value { return stringValue{&c.Push.WebPushKeyFile} }},
		{name: "push.web_push_contact", usage: "where push services reach who runs this server, mailto:name@host or https://host", address: true,
			value: func(c *Config) value { return stringValue{&c.Push.WebPushContact} }},
		{name: "push.apns.key_file", usage: ".p8 file with the key for Apple's push service; empty is off",
			value: func(c *Config) value { return stringValue{&c.Push.APNs.KeyFile} }},
		{name: "push.apns.key_id", usage: "Apple's name of that key",
			value: func(c *Config) value { return stringValue{&c.Push.APNs.KeyID} }},
		{name: "push.apns.team_id", usage: "Apple's name of the key's owner",
			value: func(c *Config) value { return stringValue{&c.Push.APNs.TeamID} }},
		{name: "push.apns.topic", usage: "bundle id of the app",
			value: func(c *Config) value { return stringValue{&c.Push.APNs.Topic} }},
		{name: "push.apns.sandbox", usage: "tell apps that Xcode has installed, not those of the store",
			value: func(c *Config) value { return boolValue{&c.Push.APNs.Sandbox} }},
		{name: "push.apns.url", usage: "address of a stand-in for Apple's push service; empty is Apple's", address: true,
			value: func(c *Config) value { return stringValue{&c.Push.APNs.URL} }},
		{name: "push.fcm.account_file", usage: "JSON file with the key of a service account for Firebase Cloud Messaging; empty is off",
			value: func(c *Config) value { return stringValue{&c.Push.FCM.AccountFile} }},
		{name: "push.fcm.url", usage: "address of a stand-in for Firebase Cloud Messaging; empty is Google's", address: true,
			value: func(c *Config) value { return stringValue{&c.Push.FCM.URL} }},
		{name: "push.after", usage: "how long a message may be undelivered before its member is told",
			value: func(c *Config) value { return durationValue{&c.Push.After, 100 * time.Millisecond, time.Hour} }},
		{name: "push.window", usage: "least time between two summaries of a user",
			value: func(c *Config) value { return durationValue{&c.Push.Window, 0, longest} }},
		{name: "push.room_members", usage: "in rooms of more members only who is mentioned is told",
			value: func(c *Config) value { return intValue{&c.Push.RoomMembers, 0, many} }},
		{name: "push.text", usage: "put the newest message's text into summaries",
			value: func(c *Config) value { return boolValue{&c.Push.Text} }},

		{name: "webhooks.url", usage: "where the application is asked and told, https://host/path; empty is off", address: true,
			value: func(c *Config) value { return stringValue{&c.Webhooks.URL} }},
		{name: "webhooks.secret", usage: "signs these requests: whsec_ and 24 to 64 bytes in base64", secret: true,
			value: func(c *Config) value { return secretValue{&c.Webhooks.Secret} }},
		{name: "webhooks.secret_file", usage: "file that holds that secret",
			value: func(c *Config) value { return stringValue{&c.Webhooks.SecretFile} }},
		{name: "webhooks.events", usage: "what it is asked about and told of: connect, publish, membership, disconnect",
			value: func(c *Config) value { return listValue{&c.Webhooks.Events} }},
		{name: "webhooks.rooms", usage: "patterns of the rooms whose publishes it is asked about, like 'team-*'",
			value: func(c *Config) value { return listValue{&c.Webhooks.Rooms} }},
		{name: "webhooks.timeout", usage: "how long a connect or a publish waits for its answer",
			value: func(c *Config) value {
				return durationValue{&c.Webhooks.Timeout, 100 * time.Millisecond, 30 * time.Second}
			}},
		{name: "webhooks.concurrency", usage: "connects and publishes that it is asked about at the same time",
			value: func(c *Config) value { return intValue{&c.Webhooks.Concurrency, 1, 1024} }},
		{name: "webhooks.on_failure", usage: "what becomes of a connect or a publish without an answer: refuse or allow",
			value: func(c *Config) value {
				return choiceValue[FailureMode]{&c.Webhooks.OnFailure, []FailureMode{FailureRefuses, FailureAllows}}
			}},

		{name: "drain.window", usage: "time over which clients are told to spread their return",
			value: func(c *Config) value { return durationValue{&c.Drain.Window, 0, longest} }},
		{name: "drain.timeout", usage: "when the process ends whatever is unfinished",
			value: func(c *Config) value { return durationValue{&c.Drain.Timeout, 10 * time.Millisecond, longest} }},

		{name: "logging.level", usage: "least level that is written: debug, info, warn or error",
			value: func(c *Config) value { return levelValue{&c.Logging.Level} }},
		{name: "logging.format", usage: "text or json",
			value: func(c *Config) value { return choiceValue[string]{&c.Logging.Format, []string{"text", "json"}} }},
	}
}

// nearest returns the name of names that typed was most likely meant to be, "" if none is
// near: the same last word in another group, or a few letters off.
func nearest(typed string, names []string) string {
	lastWord := func(s string) string {
		s = strings.TrimPrefix(s, "--")
		return s[strings.LastIndexByte(s, '.')+1:]
	}
	best, bestDistance := "", 1+min(3, len(typed)/3)
	for _, name := range names {
		if distance := editDistance(typed, name); distance < bestDistance {
			best, bestDistance = name, distance
		}
	}
	if best != "" {
		return best
	}
	for _, name := range names {
		if lastWord(typed) == lastWord(name) {
			return name
		}
	}
	return ""
}

// editDistance counts the letters to insert, delete or replace to get from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
