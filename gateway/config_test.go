package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeFile writes a file that only its owner can read, and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, args, environ []string) Config {
	t.Helper()
	c, err := LoadConfig(args, environ)
	if err != nil {
		t.Fatalf("LoadConfig(%q, %q): %v", args, environ, err)
	}
	return c
}

func TestNamesOfSettings(t *testing.T) {
	seen := map[string]string{}
	for _, s := range settings() {
		for _, name := range []string{s.name, s.environment(), s.flag()} {
			if other, taken := seen[name]; taken {
				t.Errorf("%s and %s share the name %s", s.name, other, name)
			}
			seen[name] = s.name
		}
		if s.usage == "" {
			t.Errorf("%s has no usage", s.name)
		}
	}
	for _, s := range settings() {
		if s.name != "limits.message_bytes" {
			continue
		}
		if got, want := s.environment(), "ROOKERY_LIMITS_MESSAGE_BYTES"; got != want {
			t.Errorf("environment = %s, want %s", got, want)
		}
		if got, want := s.flag(), "--limits.message-bytes"; got != want {
			t.Errorf("flag = %s, want %s", got, want)
		}
	}
}

// TestEachSettingHasItsOwnField changes one setting at a time and looks for the change in
// that setting alone, so that two rows of the table can't share a field.
func TestEachSettingHasItsOwnField(t *testing.T) {
	other := map[string]string{
		"listen": ":1", "admin": "127.0.0.1:1", "data": "elsewhere", "dev": "true", "auth.public_keys": "k",
		"limits.origins": "*", "log.sync": "never", "logging.level": "debug", "logging.format": "json", "push.text": "true", "rooms.last_seen": "false",
		"push.apns.sandbox": "true", "tls.acme.agree_terms": "true",
	}
	for _, s := range settings() {
		t.Run(s.name, func(t *testing.T) {
			c := DefaultConfig()
			text := other[s.name]
			if text == "" {
				text = "7"
				if _, isDuration := s.value(&c).(durationValue); isDuration {
					text = "7s"
				}
			}
			if err := s.value(&c).Set(text); err != nil {
				t.Fatal(err)
			}
			standard := DefaultConfig()
			for _, each := range settings() {
				changed := each.value(&c).String() != each.value(&standard).String()
				if changed != (each.name == s.name) {
					t.Errorf("after setting %s, %s is %q", s.name, each.name, each.value(&c))
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := DefaultConfig()
	c.Dev = true
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	c.Dev = false
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "auth: there is no key") {
		t.Errorf("without a key: %v", err)
	}
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "rookery.yaml", "dev: true\nlisten: :1001\nadmin: :1002\nlimits:\n  message_bytes: 2KiB\n")
	tests := []struct {
		name    string
		args    []string
		environ []string
		want    string // listen, admin, message_bytes
		from    string // where listen came from
	}{
		{"default", []string{"--dev"}, nil, ":8080 127.0.0.1:9090 65536", "default"},
		{"file", []string{"--config", file}, nil, ":1001 :1002 2048", file + ":2"},
		{"file named by the environment", nil, []string{"ROOKERY_CONFIG=" + file}, ":1001 :1002 2048", file + ":2"},
		{"environment over file", []string{"--config=" + file}, []string{"ROOKERY_LISTEN=:2001"}, ":2001 :1002 2048", "environment ROOKERY_LISTEN"},
		{"flag over all", []string{"--config", file, "-listen", ":3001"}, []string{"ROOKERY_LISTEN=:2001"}, ":3001 :1002 2048", "flag --listen"},
		{"later flag", []string{"--dev", "--listen=:1", "--listen=:2"}, nil, ":2 127.0.0.1:9090 65536", "flag --listen"},
		{"empty turns off", []string{"--dev"}, []string{"ROOKERY_ADMIN="}, ":8080  65536", "default"},
		{"underscores and hyphens", []string{"--dev", "--limits.message-bytes", "4KiB"}, nil, ":8080 127.0.0.1:9090 4096", "default"},
		{"the flag's file over the environment's", []string{"--config", file}, []string{"ROOKERY_CONFIG=/nowhere"}, ":1001 :1002 2048", file + ":2"},
		{"boolean with value", []string{"--config", file, "--dev=true"}, nil, ":1001 :1002 2048", file + ":2"},
		{"foreign variables", []string{"--dev"}, []string{"ROOKERY_PORT=tcp://10.0.0.1:80", "ROOKERY_ENV=x", "LISTEN=:9"}, ":8080 127.0.0.1:9090 65536", "default"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := mustLoad(t, test.args, test.environ)
			if got := fmt.Sprintf("%s %s %d", c.Listen, c.Admin, c.Limits.MessageBytes); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for _, s := range settings() {
				if from := c.source(s); s.name == "listen" && from != test.from {
					t.Errorf("listen is from %q, want %q", from, test.from)
				}
			}
		})
	}
}

func TestLists(t *testing.T) {
	file := writeFile(t, "rookery.yaml", "dev: true\nlimits.origins: [https://a.example, 'https://b.example']\n")
	want := []string{"https://a.example", "https://b.example"}
	for name, args := range map[string][]string{
		"file":          {"--config", file},
		"commas":        {"--dev", "--limits.origins", "https://a.example, https://b.example"},
		"repeated flag": {"--dev", "--limits.origins", "https://a.example", "--limits.origins=https://b.example"},
	} {
		if c := mustLoad(t, args, nil); !slices.Equal(c.Limits.Origins, want) {
			t.Errorf("%s: %q, want %q", name, c.Limits.Origins, want)
		}
	}
	c := mustLoad(t, []string{"--config", file}, []string{"ROOKERY_LIMITS_ORIGINS="})
	if len(c.Limits.Origins) != 0 {
		t.Errorf("an empty variable leaves %q", c.Limits.Origins)
	}
}

func TestDevelopmentModeLiftsCapsThatNobodyAskedFor(t *testing.T) {
	c := mustLoad(t, []string{"--dev", "--limits.connections-per-user", "3"}, nil)
	l := c.Limits
	if l.ConnectionsPerIP != 0 || l.MessagesPerSecond != 0 || l.ConnectionsPerUser != 3 {
		t.Errorf("per address %d, messages %d, per user %d; want 0, 0, 3", l.ConnectionsPerIP, l.MessagesPerSecond, l.ConnectionsPerUser)
	}
	secret := strings.Repeat("s", minSecret)
	c = mustLoad(t, nil, []string{"ROOKERY_AUTH_HS256_SECRET=" + secret})
	l = c.Limits
	if l.ConnectionsPerIP != 1000 || l.MessagesPerSecond != 20 || l.ConnectionsPerUser != 20 {
		t.Errorf("in production: per address %d, messages %d, per user %d", l.ConnectionsPerIP, l.MessagesPerSecond, l.ConnectionsPerUser)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]string{
		"1024": "1KiB", "1500": "1500", "64KiB": "64KiB", "64 KiB": "64KiB", "1MiB": "1MiB", "1024KiB": "1MiB", "2048B": "2KiB",
	} {
		var n int
		v := sizeValue[int]{&n, 0, 1 << 30}
		if err := v.Set(text); err != nil || v.String() != want {
			t.Errorf("size %q: %s, %v; want %s", text, v, err, want)
		}
	}
	for _, text := range []string{"", "64k", "64KB", "1.5MiB", "KiB", "9999999999GiB", "99999999999999999999", "0x10", "1 000"} {
		var n int
		if err := (sizeValue[int]{&n, 0, 1 << 30}).Set(text); err == nil {
			t.Errorf("size %q is taken as %d", text, n)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", time.Hour + time.Second: "1h0m1s", 0: "0s", 100 * time.Millisecond: "100ms", 10 * time.Minute: "10m",
	} {
		got := durationValue{field: &d}.String()
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("duration %v is written %q, want %q", d, got, want)
		}
	}
}

func TestPrintGoesBackIn(t *testing.T) {
	secret := writeFile(t, "secret", strings.Repeat("s", minSecret)+"\n")
	odd := "a \"quoted\" name: # with\tall, é\x07 it takes"
	args := []string{
		"--listen", "127.0.0.1:0", "--admin", "", "--data", odd, "--heartbeat", "1m30s", "--log.sync", "interval",
		"--auth.hs256-secret-file", secret, "--auth.issuer", "yes", "--auth.audience", "010", "--limits.message-bytes", "65537",
		"--limits.origins", "https://a.example,https://b.example:8443", "--logging.level", "debug",
	}
	first := mustLoad(t, args, []string{"ROOKERY_SHARDS=4"})
	var out, again bytes.Buffer
	if err := first.Print(&out); err != nil {
		t.Fatal(err)
	}
	second := mustLoad(t, []string{"--config", writeFile(t, "printed.yaml", out.String())}, nil)
	for _, s := range settings() {
		if got, want := s.value(&second).String(), s.value(&first).String(); got != want {
			t.Errorf("%s is %q after the round trip, was %q", s.name, got, want)
		}
	}
	if second.Data != odd {
		t.Errorf("data = %q, want %q", second.Data, odd)
	}
	for _, line := range []string{"# flag --listen\n", "# environment ROOKERY_SHARDS\n", "# default\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line ends in %q:\n%s", line, out.String())
		}
	}
	if err := second.Print(&again); err != nil || !strings.Contains(again.String(), "printed.yaml:") {
		t.Errorf("the second print names no line of the file: %v\n%s", err, again.String())
	}
}

func TestPrintOfDevelopmentMode(t *testing.T) {
	first := mustLoad(t, []string{"--dev"}, nil)
	var out bytes.Buffer
	if err := first.Print(&out); err != nil {
		t.Fatal(err)
	}
	second := mustLoad(t, []string{"--config", writeFile(t, "c.yaml", out.String())}, nil)
	if second.Limits.ConnectionsPerIP != 0 || !second.Dev {
		t.Errorf("per address %d, dev %v", second.Limits.ConnectionsPerIP, second.Dev)
	}
	if !strings.Contains(out.String(), "# default in development mode") {
		t.Errorf("the lifted caps don't say why:\n%s", out.String())
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "correct-horse-battery-staple-0123456789"
	c := mustLoad(t, nil, []string{"ROOKERY_AUTH_HS256_SECRET=" + secret})
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "a secret is set and not shown (environment ROOKERY_AUTH_HS256_SECRET)") {
		t.Errorf("Print does not say that there is a secret:\n%s", out.String())
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	_, refused := LoadConfig([]string{"--auth.hs256-secret", secret[:20], "--listen", "nonsense"}, nil)
	for how, text := range map[string]string{
		"Print": out.String(), "%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c),
		"%s": fmt.Sprintf("%s", c.Auth.HS256Secret), "%x": fmt.Sprintf("%x", c.Auth.HS256Secret), "JSON": string(asJSON), "fault": refused.Error(),
	} {
		if strings.Contains(text, secret[:20]) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s shows the secret: %s", how, text)
		}
	}
}

// TestAddressesAreShownWithoutSecrets: printed, and where they are refused.
func TestAddressesAreShownWithoutSecrets(t *testing.T) {
	hook := setting{name: "webhooks.url", address: true}
	for text, want := range map[string]string{
		"https://host/path":              "https://host/path",
		"https://host/a@b":               "https://host/a@b",
		"https://host/path?key=hunter2":  "https://host/path?…",
		"https://host?hunter2":           "https://host?…",
		"https://host/path#hunter2?x":    "https://host/path#…",
		"https://me:hunter2@host/path":   "https://…@host/path",
		"https://hunter2@x@host:1/a?b@c": "https://…@host:1/a?…",
		"https://host\x7f/?hunter2":      "https://host\x7f/?…",
		"mailto:ops@host":                "mailto:ops@host",
		"/etc/rookery/what?.json":        "/etc/rookery/what?.json",
	} {
		if got := hook.shown(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
	c := mustLoad(t, []string{"--dev", "--webhooks.url=https://host/x?key=hunter2", "--webhooks.events=publish", "--webhooks.secret=whsec_" + strings.Repeat("A", 40)}, nil)
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if want := `  # url: "https://host/x?…" is set, and what may be a secret in it not shown (flag --webhooks.url)` + "\n"; !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hunter2") {
		t.Errorf("Print does not write %s:\n%s", want, out.String())
	}
	for _, s := range settings() {
		if !s.address {
			continue
		}
		if _, err := LoadConfig([]string{"--dev", s.flag() + "=ftp://me:hunter2@host/x?hunter2"}, nil); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a fault of %s shows what may be a secret: %v", s.name, err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"--listen", "nonsense", "--help"}} {
		if _, err := LoadConfig(args, nil); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q: %v", args, err)
		}
	}
	var out bytes.Buffer
	if err := WriteUsage(&out); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		if !strings.Contains(out.String(), "  "+s.flag()+"\n") {
			t.Errorf("usage lacks %s", s.flag())
		}
	}
}
