package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newAPNsKey is one as Apple gives them.
func newAPNsKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

// TestRefusals has each fault alone. Each must give exactly one line, and that line has
// to name the setting, its source and value where it has them, and the reason.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, []byte(strings.Repeat("s", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	short := writeFile(t, "short", strings.Repeat("s", minSecret-1)+"\n\n")
	good := writeFile(t, "good", strings.Repeat("s", minSecret))
	long := strings.Repeat("s", minSecret)
	empty := writeFile(t, "empty.yaml", "")
	apiKeys := writeFile(t, "api-keys", "# ours\nbackend read,publish "+long+"\n")

	hook := writeFile(t, "hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
	apns := writeFile(t, "key.p8", newAPNsKey(t))

	dev := func(args ...string) []string { return append([]string{"--dev"}, args...) }
	oidc := func(args ...string) []string {
		return append([]string{"--oidc.issuer", "https://id.example", "--oidc.client-id", "chat", "--limits.origins", "https://chat.example"}, args...)
	}
	hookSecret := "whsec_" + strings.Repeat("A", 40)
	webhooks := func(args ...string) []string {
		given := []string{"--dev", "--webhooks.url=https://host/x", "--webhooks.events=publish", "--webhooks.secret=" + hookSecret}
		for _, arg := range args { // in place of what is given
			name, _, _ := strings.Cut(arg, "=")
			given = slices.DeleteFunc(given, func(g string) bool { return strings.HasPrefix(g, name+"=") })
		}
		return append(given, args...)
	}
	tests := []struct {
		name    string
		args    []string
		environ []string
		want    []string
	}{
		{"no key", nil, nil, []string{"auth.hs256_secret_file", "auth.public_keys", "--dev"}},
		{"short secret", []string{"--auth.hs256-secret=abc"}, nil, []string{"auth.hs256_secret = a secret (flag --auth.hs256-secret)", "3 bytes", "32"}},
		{"short secret in a file", []string{"--auth.hs256-secret-file", short}, nil, []string{"auth.hs256_secret_file", "holds 31 bytes"}},
		{"two secrets", []string{"--auth.hs256-secret-file", good, "--auth.hs256-secret", long}, nil, []string{"together with auth.hs256_secret"}},
		{"secret for everybody", []string{"--auth.hs256-secret-file", open}, nil, []string{open, "every user", "chmod o-r"}},
		{"no secret file", []string{"--auth.hs256-secret-file", "/nowhere/x"}, nil, []string{"auth.hs256_secret_file", "/nowhere/x", "no such file"}},
		{"secret file is a directory", []string{"--auth.hs256-secret-file", dir}, nil, []string{dir}},
		{"keys are checked in development mode too", dev("--auth.hs256-secret=abc"), nil, []string{"3 bytes"}},

		{"no client", oidc("--oidc.client-id="), nil, []string{"oidc.client_id", "is empty"}},
		{"client without a provider", dev("--oidc.client-id", "chat"), nil, []string{"oidc.client_id", "without oidc.issuer"}},
		{"provider without TLS", oidc("--oidc.issuer", "http://id.example"), nil, []string{`oidc.issuer = "http://id.example" (flag --oidc.issuer)`, "without TLS"}},
		{"provider that is no address", oidc("--oidc.issuer", "id.example"), nil, []string{"oidc.issuer", "is no address"}},
		{"provider with a query", oidc("--oidc.issuer", "https://id.example/?a=b"), nil, []string{"oidc.issuer", "query"}},
		{"two client secrets", oidc("--oidc.client-secret", "a", "--oidc.client-secret-file", good), nil, []string{"oidc.client_secret_file", "together with oidc.client_secret"}},
		{"client secret for everybody", oidc("--oidc.client-secret-file", open), nil, []string{open, "every user", "chmod o-r"}},
		{"client secret file without a secret", oidc("--oidc.client-secret-file", empty), nil, []string{"oidc.client_secret_file", "is empty"}},
		{"no way back", []string{"--oidc.issuer", "https://id.example", "--oidc.client-id", "chat"}, nil, []string{"oidc.redirect_url", "limits.origins", "/oidc/callback"}},
		{"two ways back", oidc("--limits.origins", "https://a.example,https://b.example"), nil, []string{"oidc.redirect_url", "exactly one"}},
		{"way back to elsewhere", oidc("--oidc.redirect-url", "https://chat.example/callback"), nil, []string{"oidc.redirect_url", "/oidc/callback"}},
		{"way back without TLS", oidc("--oidc.redirect-url", "http://chat.example/oidc/callback"), nil, []string{"oidc.redirect_url", "without TLS"}},
		{"way back with the standard port", oidc("--oidc.redirect-url", "https://chat.example:443/oidc/callback"), nil, []string{"oidc.redirect_url", "standard port"}},
		{"page that may not connect", oidc("--oidc.redirect-url", "https://page.example/oidc/callback"), nil, []string{"limits.origins", "has not https://page.example"}},
		{"head without room for cookies", oidc("--limits.header-bytes", "4KiB"), nil, []string{"limits.header_bytes", "8KiB or more"}},
		{"scope with a space", oidc("--oidc.scopes", "profile email"), nil, []string{"oidc.scopes", `"profile email"`}},
		{"no claim for the name", oidc("--oidc.user-claim="), nil, []string{"oidc.user_claim", "is empty"}},
		{"rule that gives nothing", oidc("--oidc.rights", "groups staff"), nil, []string{"oidc.rights", "gives nothing"}},
		{"session of a moment", oidc("--oidc.session", "1s"), nil, []string{"oidc.session", "under the least"}},

		{"proxies of nowhere", dev("--proxy.trusted=example.com"), nil, []string{`proxy.trusted = "example.com" (flag --proxy.trusted)`, "is no network", "10.0.0.0/24"}},
		{"proxies everywhere", dev("--proxy.trusted=10.0.0.1,::/0"), nil, []string{"proxy.trusted", `"::/0"`, "every address"}},
		{"network with bits behind it", dev("--proxy.trusted=10.0.0.1/8"), nil, []string{"proxy.trusted", "10.0.0.0/8", "10.0.0.1"}},
		{"IPv4 proxies in IPv6", dev("--proxy.trusted=::ffff:10.0.0.0/104"), nil, []string{"proxy.trusted", "IPv4 address in IPv6"}},
		{"proxy with a zone", dev("--proxy.trusted=fe80::1%eth0"), nil, []string{"proxy.trusted", "is no network"}},
		{"PROXY protocol of nobody", dev("--proxy.protocol=required"), nil, []string{"proxy.protocol", "proxy.trusted", "proxy.socket"}},
		{"PROXY protocol as a number", dev("--proxy.protocol=2"), nil, []string{"proxy.protocol", "off, optional, required"}},
		{"long socket path", dev("--proxy.socket", "/"+strings.Repeat("s", 103)), nil, []string{"proxy.socket", "104 bytes", "103 at most"}},
		{"abstract socket", dev("--proxy.socket=@rookery"), nil, []string{"proxy.socket", "no permissions"}},
		{"socket with odd permissions", dev("--proxy.socket-mode=rw-rw----"), nil, []string{"proxy.socket_mode", "octal", "0660"}},
		{"socket with too many permissions", dev("--proxy.socket-mode=07777"), nil, []string{"proxy.socket_mode", "octal"}},

		{"API keys that can't be read", dev("--api.keys", "backend read "+long+" more"), nil, []string{"api.keys = a secret (flag --api.keys)", "line 1 has 4 words"}},
		{"API keys twice", dev("--api.keys-file", apiKeys, "--api.keys", "a read "+long), nil, []string{"api.keys_file", "together with api.keys"}},
		{"no API keys file", dev("--api.keys-file", "/nowhere/x"), nil, []string{"api.keys_file", "/nowhere/x", "no such file"}},
		{"API keys for everybody", dev("--api.keys-file", open), nil, []string{open, "every user", "chmod o-r"}},
		{"API keys file without a key", dev("--api.keys-file", empty), nil, []string{"api.keys_file", "holds no key"}},
		{"API keys without a listener", dev("--api.keys-file", apiKeys, "--admin="), nil, []string{"api.keys_file", "admin is empty"}},

		{"no port", dev("--listen", "127.0.0.1"), nil, []string{`listen = "127.0.0.1" (flag --listen)`, "host:port"}},
		{"empty listen", dev("--listen="), nil, []string{`listen = ""`, "host:port"}},
		{"port too high", dev("--listen", ":65536"), nil, []string{"port from 0 to 65535"}},
		{"port with a sign", dev("--listen", ":+80"), nil, []string{"port from 0 to 65535"}},
		{"bad address", dev("--listen", "10.0.0.300:80"), nil, []string{"valid IP address"}},
		{"bad host", dev("--listen", "a b:80"), nil, []string{"valid host"}},
		{"URL for an address", dev("--listen", "tcp://h:80"), nil, []string{"listen", "host:port"}},
		{"bad admin", dev("--admin", "9090"), nil, []string{"admin", "empty to turn it off"}},
		{"same address", dev("--admin", "[::1]:5", "--listen", "[::1]:5"), nil, []string{"admin", "taken by listen"}},
		{"same port, all addresses", dev("--listen", ":5", "--admin", "127.0.0.1:5"), nil, []string{"admin", "taken by listen"}},
		{"empty data", dev("--data="), nil, []string{"data", "name a directory"}},
		{"NUL in data", dev("--data=a\x00b"), nil, []string{"data", "NUL"}},

		{"message over the most", dev("--limits.message-bytes", "2MiB"), nil, []string{`limits.message_bytes = "2MiB"`, "over the most, 1MiB"}},
		{"message under the least", dev("--limits.message-bytes", "1"), nil, []string{"under the least, 1KiB"}},
		{"message larger than outbound", dev("--limits.message-bytes", "512KiB"), nil, []string{"limits.outbound_bytes", "never be sent"}},
		{"outbound larger than all", dev("--limits.outbound-bytes", "128MiB", "--limits.outbound-total-bytes", "127MiB"), nil, []string{"limits.outbound_total_bytes", "raise it"}},
		{"outbound over what is handed over", dev("--limits.outbound-bytes", "129MiB"), nil, []string{`limits.outbound_bytes = "129MiB"`, "over the most, 128MiB"}},
		{"gather without a time", dev("--rooms.gather", "ticker-*"), nil, []string{"rooms.gather", "names no time"}},
		{"gather for too long", dev("--rooms.gather", "ticker-* 1h"), nil, []string{"rooms.gather", "ticker-* 1h", "10s"}},
		{"gather by no pattern", dev("--rooms.gather", "a*b 50ms"), nil, []string{"rooms.gather", `"a*b"`}},
		{"star inside a pattern", dev("--rooms.ephemeral", "game-*,a*b"), nil, []string{`rooms.ephemeral = "game-*,a*b"`, `"a*b"`, "not its last"}},
		{"receipts by no pattern", dev("--rooms.receipts", "a*b"), nil, []string{`rooms.receipts = "a*b"`, "not its last"}},
		{"negative connections", dev("--limits.connections", "-1"), nil, []string{`limits.connections = "-1"`, "under the least, 0"}},
		{"no burst", dev("--limits.message-burst=0"), nil, []string{"limits.message_burst", "under the least, 1"}},
		{"too many loops", dev("--loops=257"), nil, []string{"loops", "over the most, 256"}},
		{"negative time", dev("--limits.stall-timeout=-1s"), nil, []string{"limits.stall_timeout", "under the least"}},
		{"no number", dev("--loops=many"), nil, []string{`loops = "many"`, "whole number"}},
		{"no size", dev("--limits.header-bytes=8kb"), nil, []string{"limits.header_bytes", "KiB"}},
		{"no duration", dev("--heartbeat=25"), nil, []string{"heartbeat", "like 30s"}},
		{"no boolean", dev("--dev=yes"), nil, []string{`dev = "true,yes"`, "neither true nor false"}},
		{"bad origin", dev("--limits.origins=chat.example.com"), nil, []string{"limits.origins", "scheme://host"}},
		{"origin with a path", dev("--limits.origins=https://a.example/"), nil, []string{"limits.origins", "no origin"}},
		{"origin with a wildcard", dev("--limits.origins=https://*.example"), nil, []string{"limits.origins", "no origin"}},
		{"origin with the standard port", dev("--limits.origins=https://a.example:443"), nil, []string{"write https://a.example"}},
		{"origin in upper case", dev("--limits.origins=https://A.example"), nil, []string{`"https://a.example"`}},
		{"origin twice", dev("--limits.origins=*,*"), nil, []string{"limits.origins", "twice"}},
		{"empty entry", dev("--limits.origins=*,"), nil, []string{"limits.origins", "entry 2"}},
		{"sync mode", dev("--log.sync=sometimes"), nil, []string{`log.sync = "sometimes"`, "always, interval, never"}},
		{"small segment", dev("--log.segment-bytes=1MiB"), nil, []string{"log.segment_bytes", "under the least, 2MiB"}},
		{"negative age", dev("--retention.age=-1h"), nil, []string{"retention.age", "under the least"}},
		{"rule without a bound", dev("--retention.rooms=lobby"), nil, []string{"retention.rooms", `"lobby"`, "names no bound", "age=720h"}},
		{"rule with an unknown bound", dev("--retention.rooms=lobby days=30"), nil, []string{"retention.rooms", `bound "days" is none`}},
		{"rule with a bad age", dev("--retention.rooms=lobby age=30d"), nil, []string{"retention.rooms", `age "30d" is not a duration`}},
		{"rule with a negative number", dev("--retention.rooms=lobby messages=-1"), nil, []string{"retention.rooms", "under the least, 0"}},
		{"rule with a bound twice", dev("--retention.rooms=lobby age=1h age=2h"), nil, []string{"retention.rooms", "age twice"}},
		{"rule with a bad pattern", dev("--retention.rooms=a*b age=1h"), nil, []string{"retention.rooms", "not its last character"}},
		{"rule without a pattern", dev("--retention.rooms=age=1h"), nil, []string{"retention.rooms", "names no bound"}},
		{"two rules for the same", dev("--retention.rooms=a* age=1h,b age=1h,a* age=2h"), nil, []string{"retention.rooms", `"a*" twice`}},
		{"ship to nowhere", dev("--ship.to=ftp://host/x"), nil, []string{`ship.to = "ftp://host/x"`, "neither a directory nor a bucket"}},
		{"ship to a bad bucket", dev("--ship.to=s3://Bucket/x"), nil, []string{"ship.to", "no name of a bucket"}},
		{"ship into the log", dev("--data=/d", "--ship.to=file:///d/copy"), nil, []string{"ship.to", "lies in the directory of the log"}},
		{"ship to a directory with a store", dev("--ship.to=/copy", "--ship.s3-endpoint=http://h:1"), nil, []string{"ship.to", "is a directory"}},
		{"ship to a store without a scheme", dev("--ship.to=s3://bucket", "--ship.s3-endpoint=h:1"), nil, []string{"ship.s3_endpoint", "https://host:port"}},
		{"ship all the time", dev("--ship.every=1ms"), nil, []string{"ship.every", "under the least, 100ms"}},
		{"push to nowhere", dev("--push.webhook=http://host/x", "--push.secret-file", hook), nil, []string{`push.webhook = "http://host/x"`, "https://host/path"}},
		{"push without a secret", dev("--push.webhook=https://host/x"), nil, []string{"push.secret", "openssl rand"}},
		{"push with a bad secret", dev("--push.webhook=https://host/x", "--push.secret=hunter2"), nil, []string{"push.secret = a secret", "24 to 64 bytes"}},
		{"web push with a bad key", dev("--push.web-push-key=x", "--push.web-push-contact=mailto:a@b.example"), nil, []string{"push.web_push_key = a secret", "openssl rand"}},
		{"web push without a contact", dev("--push.web-push-key=q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), nil, []string{"push.web_push_contact", "mailto:"}},
		{"push secret twice", dev("--push.webhook=https://host/x", "--push.secret=x", "--push.secret-file", hook), nil, []string{"push.secret_file", "together with push.secret"}},
		{"push secret for everybody", dev("--push.webhook=https://host/x", "--push.secret-file", open), nil, []string{"push.secret_file", open, "chmod o-r"}},
		{"push with a bad secret in a file", dev("--push.webhook=https://host/x", "--push.secret-file", short), nil, []string{"push.secret_file", "24 to 64 bytes"}},
		{"no web push key file", dev("--push.web-push-key-file", "/nowhere/x"), nil, []string{"push.web_push_key_file", "no such file"}},
		{"web push with a bad key in a file", dev("--push.web-push-key-file", hook, "--push.web-push-contact=mailto:a@b.example"), nil, []string{"push.web_push_key_file", "openssl rand"}},
		{"no key for Apple", dev("--push.apns.key-file", "/nowhere/x", "--push.apns.key-id=k", "--push.apns.team-id=t", "--push.apns.topic=a"), nil, []string{"push.apns.key_file", "no such file"}},
		{"a bad key for Apple", dev("--push.apns.key-file", hook, "--push.apns.key-id=k", "--push.apns.team-id=t", "--push.apns.topic=a"), nil, []string{"push.apns.key_file", ".p8"}},
		{"a key for Apple without a name", dev("--push.apns.key-file", apns, "--push.apns.team-id=t", "--push.apns.topic=a"), nil, []string{"push.apns.key_id", "must be set"}},
		{"a key for Apple without an owner", dev("--push.apns.key-file", apns, "--push.apns.key-id=k", "--push.apns.topic=a"), nil, []string{"push.apns.team_id", "must be set"}},
		{"a key for Apple without an app", dev("--push.apns.key-file", apns, "--push.apns.key-id=k", "--push.apns.team-id=t"), nil, []string{"push.apns.topic", "must be set"}},
		{"a stand-in for Apple in the clear", dev("--push.apns.url=http://host/"), nil, []string{"push.apns.url", "https://host/path"}},
		{"no service account", dev("--push.fcm.account-file", hook), nil, []string{"push.fcm.account_file", "service account"}},
		{"a stand-in for Google that is no address", dev("--push.fcm.url=host"), nil, []string{"push.fcm.url", "https://host/path"}},
		{"push at once", dev("--push.after=1ms"), nil, []string{"push.after", "under the least, 100ms"}},

		{"webhook to nowhere", webhooks("--webhooks.url=http://host/x"), nil, []string{`webhooks.url = "http://host/x"`, "https://host/path"}},
		{"webhook for nothing", dev("--webhooks.url=https://host/x", "--webhooks.secret="+hookSecret), nil, []string{"webhooks.events", "names nothing"}},
		{"webhook for what there is not", webhooks("--webhooks.events=publsih"), nil, []string{"webhooks.events", `"publsih"`, "connect, publish"}},
		{"webhook in no room", webhooks("--webhooks.rooms="), nil, []string{"webhooks.rooms", "names no room"}},
		{"webhook in a room that can't be", webhooks("--webhooks.rooms=a*b"), nil, []string{"webhooks.rooms", "no list of room patterns"}},
		{"webhook without a secret", webhooks("--webhooks.secret="), nil, []string{"webhooks.secret", "openssl rand"}},
		{"webhook with a bad secret", webhooks("--webhooks.secret=hunter2"), nil, []string{"webhooks.secret = a secret", "24 to 64 bytes"}},
		{"webhook with two secrets", webhooks("--webhooks.secret-file", good), nil, []string{"webhooks.secret_file", "together with webhooks.secret"}},
		{"webhook with a file for everybody", webhooks("--webhooks.secret=", "--webhooks.secret-file", open), nil, []string{open, "every user", "chmod o-r"}},
		{"webhook with a file of something else", webhooks("--webhooks.secret=", "--webhooks.secret-file", good), nil, []string{"webhooks.secret_file", "24 to 64 bytes"}},
		{"webhook for ever", webhooks("--webhooks.timeout=1m"), nil, []string{"webhooks.timeout", "30s"}},
		{"webhook that fails otherwise", webhooks("--webhooks.on-failure=maybe"), nil, []string{"webhooks.on_failure", "refuse"}},
		{"drain", dev("--drain.timeout=5s"), nil, []string{"drain.timeout", "drain.window"}},
		{"level", dev("--logging.level=loud"), nil, []string{"logging.level", "debug, info, warn, error"}},
		{"format", dev("--logging.format=xml"), nil, []string{"logging.format", "text, json"}},

		{"unknown flag", dev("--limits.mesage-bytes", "1KiB"), nil, []string{"flag --limits.mesage-bytes", "did you mean --limits.message-bytes?"}},
		{"flag without its group", dev("--message-bytes=1KiB"), nil, []string{"did you mean --limits.message-bytes?"}},
		{"flag unlike any", dev("--frobnicate"), nil, []string{"serve --help"}},
		{"flag without value", dev("--listen"), nil, []string{"flag --listen", "has no value"}},
		{"argument", dev("lobby"), nil, []string{`argument "lobby"`}},
		{"config twice", dev("--config", empty, "--config", empty), nil, []string{"--config", "twice"}},
		{"variable misspelt", dev(), []string{"ROOKERY_LISTN=:1"}, []string{"ROOKERY_LISTN", "did you mean ROOKERY_LISTEN?"}},
		{"long variable misspelt", dev(), []string{"ROOKERY_LIMIT_MESSAGE_BYTE=1"}, []string{"did you mean ROOKERY_LIMITS_MESSAGE_BYTES?"}},
		{"wrong variable", dev(), []string{"ROOKERY_LOOPS=x"}, []string{`loops = "x" (environment ROOKERY_LOOPS)`}},
		{"no file", dev("--config=/nowhere/rookery.yaml"), nil, []string{"/nowhere/rookery.yaml (flag --config)", "no such file"}},
		{"file from the environment", dev(), []string{"ROOKERY_CONFIG=/nowhere/r.yaml"}, []string{"(environment ROOKERY_CONFIG)"}},
		{"file is a directory", dev("--config", dir), nil, []string{"not a regular file"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := LoadConfig(test.args, test.environ)
			checkOneFault(t, err, test.want)
		})
	}
}

func TestFileRefusals(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"unknown key", "dev: true\nlimits:\n  message_byte: 1KiB\n", []string{"limits.message_byte (", "r.yaml:3)", "did you mean limits.message_bytes?"}},
		{"key without its group", "dev: true\nmessage_bytes: 1KiB\n", []string{"r.yaml:2)", "did you mean limits.message_bytes?"}},
		{"unknown group", "dev: true\nlimit:\n  message_bytes: 1KiB\n", []string{"limit (", "r.yaml:2)"}},
		{"wrong value", "dev: true\n\nheartbeat: 25\n", []string{`heartbeat = "25" (`, "r.yaml:3)", "like 30s"}},
		{"twice", "dev: true\ndev: true\n", []string{"r.yaml", "line 2", "already defined"}},
		{"nested and dotted", "dev: true\nlog.sync: never\nlog:\n  sync: always\n", []string{"log.sync (", "r.yaml:4)", "already set at", "r.yaml:2"}},
		{"no value", "dev: true\nadmin:\n", []string{"admin (", `write "" for an empty one`}},
		{"list for one value", "dev: true\nlisten: [a, b]\n", []string{"listen", "takes one value"}},
		{"mapping for one value", "dev: true\nlisten: {a: b}\n", []string{"listen", "one value or a list"}},
		{"value for a group", "dev: true\nlimits: 5\n", []string{"limits", "has to be a mapping"}},
		{"nothing in a list", "dev: true\nlimits.origins: [a,]\nauth.public_keys:\n-\n", []string{"auth.public_keys", "has no value"}},
		{"list", "- dev\n", []string{"has to be a mapping"}},
		{"alias", "dev: true\nloops: &n 2\n", []string{"loops", "anchor"}},
		{"two documents", "dev: true\n---\nloops: 1\n", []string{"several documents"}},
		{"no YAML", "dev: true\nlimits.origins: [a\n", []string{"r.yaml", "line 2 is not YAML"}},
		{"tab", "dev: true\nlimits:\n\tloops: 1\n", []string{"line 3 is not YAML"}},
		{"boolean of another version", "dev: yes\n", []string{`dev = "yes"`, "neither true nor false"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"--config", writeFile(t, "r.yaml", test.text)}
			if !strings.Contains(test.text, "dev: true") {
				args = append(args, "--dev")
			}
			if test.name == "nothing in a list" {
				args = append(args, "--limits.origins=")
			}
			_, err := LoadConfig(args, nil)
			checkOneFault(t, err, test.want)
		})
	}
}

func checkOneFault(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatalf("not refused; want a fault with %q", want)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 1 {
		t.Errorf("%d faults, want 1:\n%v", lines, err)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

func TestSecretInAFileForEverybody(t *testing.T) {
	long := strings.Repeat("s", minSecret)
	good := map[string]string{
		"auth.hs256_secret":  long,
		"api.keys":           "backend read " + long,
		"push.web_push_key":  "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\npush.web_push_contact: mailto:a@b.example",
		"oidc.client_secret": long, "push.secret": long, "webhooks.secret": long, // of what is off
	}
	for _, s := range settings() {
		if !s.secret {
			continue
		}
		path := writeFile(t, "r.yaml", "dev: true\n"+s.name+": "+good[s.name]+"\n")
		mustLoad(t, []string{"--config", path}, nil)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig([]string{"--config", path}, nil)
		checkOneFault(t, err, []string{s.name + " = a secret", "r.yaml:2", "every user"})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	path := writeFile(t, "r.yaml", "listen: nowhere\nlimits:\n  message_byte: 1\n  message_bytes: 5MiB\nheartbeat: soon\n")
	_, err := LoadConfig(
		[]string{"--config", path, "--loops=-1", "--no-such", "--auth.public-keys=/nowhere.pem", "rest"},
		[]string{"ROOKERY_SHARDS=x", "ROOKERY_LOG_SYNC=perhaps", "ROOKERY_ADMIM=:1"})
	if err == nil {
		t.Fatal("not refused")
	}
	wants := []string{
		"listen = ", "limits.message_byte (", "limits.message_bytes = ", "heartbeat = ", "loops = ", "flag --no-such",
		"auth.public_keys = ", `argument "rest"`, "shards = ", "log.sync = ", "ROOKERY_ADMIM",
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the faults:\n%v", want, err)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != len(wants) {
		t.Errorf("%d faults, want %d:\n%v", got, len(wants), err)
	}
}

// TestProgramsAreCheckedLikeFiles fills a Config in by hand, in the way of a test server.
func TestProgramsAreCheckedLikeFiles(t *testing.T) {
	c := DefaultConfig()
	c.Dev = true
	c.Limits.MessageBytes = 5 << 20
	c.Log.Sync = "perhaps"
	err := c.Validate()
	if err == nil {
		t.Fatal("not refused")
	}
	for _, want := range []string{`limits.message_bytes = "5MiB" (set by the program)`, `log.sync = "perhaps" (set by the program)`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("dev: true\nlimits:\n  origins: [\"*\"]\n")
	f.Add("a: &a [*a]\n")
	f.Add("? {a: b}\n: c\n")
	f.Add("limits: {message_bytes: 1KiB, : }\n<<: *x\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "r.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var faults faultList
		readFile(given{texts: []string{path}, from: "test"}, settings(), &faults)
	})
}
