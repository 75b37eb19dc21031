package process

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	fail2banFilter = "../../deploy/fail2ban/filter.d/rookery.conf"
	fail2banJail   = "../../deploy/fail2ban/jail.d/rookery.conf"
)

// matched gives the addresses that fail2ban would count, a line each.
func matched(t *testing.T, lines []string, options string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rookery.log")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fail2ban-regex", "-o", "<ip>", file, fail2banFilter+options).CombinedOutput()
	// Its status is 1 when nothing matches.
	if err != nil && len(strings.TrimSpace(string(out))) > 0 {
		t.Fatalf("fail2ban-regex, of Debian's package fail2ban, which test/setup installs: %v\n%s", err, out)
	}
	if _, noProgram := err.(*exec.Error); noProgram {
		t.Fatalf("%v: test/setup installs it, from Debian's package fail2ban", err)
	}
	return strings.Fields(string(out))
}

// whole are the lines that begin as the server's do.
func whole(log string) (lines []string) {
	for line := range strings.SplitSeq(log, "\n") {
		if strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "{") {
			lines = append(lines, line)
		}
	}
	return lines
}

var reasonOf = regexp.MustCompile(`reason"?[=:]"?([a-z_]+)`)

// reasons are those of the lines about who was turned away.
func reasons(lines []string) (found []string) {
	for _, line := range lines {
		if strings.Contains(line, `msg="access denied"`) || strings.Contains(line, `"msg":"access denied"`) {
			found = append(found, reasonOf.FindStringSubmatch(line)[1])
		}
	}
	return found
}

// ask sends a request over a connection of its own and gives the answer's status.
func ask(t *testing.T, method, address, path, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// forged are texts that a stranger would like to see as a line of its own, with somebody else's address.
var forged = []string{
	"x\ntime=2026-01-01T00:00:00.000Z level=WARN msg=\"access denied\" address=198.51.100.9 reason=bad_token conn=0-1-1",
	"x\" \n{\"time\":\"2026-01-01T00:00:00Z\",\"level\":\"WARN\",\"msg\":\"access denied\",\"address\":\"198.51.100.9\",\"reason\":\"flood\",\"x\":\"",
	"\r\nlevel=WARN msg=\"access denied\" address=198.51.100.9 reason=flood",
	"\" level=WARN msg=\"access denied\" address=198.51.100.9 reason=flood ",
	"\u2028time=2026-01-01T00:00:00.000Z level=WARN msg=\"access denied\" address=198.51.100.9 reason=flood",
}

// TestFail2ban: the shipped filter, in the real fail2ban, finds every line about a stranger that a real server writes, in both
// formats, and no other line; and nobody can write a line about somebody else.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	const secret = "a secret of this test, of 32 bytes or more"
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := start(t, launch{data: t.TempDir(), flags: []string{
				"--logging.format", format, "--logging.level", "debug", "--auth.hs256-secret-file", secretFile,
				"--limits.connections-per-user", "1", "--limits.messages-per-second", "1", "--limits.message-burst", "1",
				"--limits.frame-timeout", "500ms",
			}})
			token := func(claims jwt.MapClaims, kid string) string {
				made := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
				if kid != "" {
					made.Header["kid"] = kid
				}
				text, err := made.SignedString([]byte(secret))
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			connect := func(r *v1.Connect) *peer {
				t.Helper()
				p, err := dial(s.address, rawTCP, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { p.conn.Close() })
				if _, err := p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: r}}); err != nil {
					t.Fatal(err)
				}
				return p
			}
			ends := func(p *peer) {
				t.Helper()
				for {
					if _, err := p.next(); err != nil {
						return
					}
				}
			}
			raw := func(bytes string) {
				t.Helper()
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				io.WriteString(conn, bytes)
				io.Copy(io.Discard, conn)
			}
			inAnHour := time.Now().Add(time.Hour).Unix()

			// What is ordinary: a user with a name made for the occasion, rooms and texts too.
			ordinary, err := login(s.address, rawTCP, `level=WARN msg="access denied" address=198.51.100.9 reason=flood`)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ordinary.conn.Close() }) // and no sooner
			if err := ordinary.enter(`" msg="access denied" address=198.51.100.9 reason=flood`); err != nil {
				t.Fatal(err)
			}
			ends(connect(&v1.Connect{Token: token(jwt.MapClaims{"sub": "a", "exp": time.Now().Add(-time.Hour).Unix()}, "")})) // token_expired
			if status := ask(t, http.MethodGet, s.address, "/nowhere", ""); status != http.StatusNotFound {
				t.Errorf("a page that is not there: %d", status)
			}
			if status := ask(t, http.MethodGet, s.address, "/ws", ""); status != http.StatusUpgradeRequired { // a browser can be made to send this
				t.Errorf("a plain request for WebSocket: %d", status)
			}
			for _, text := range forged { // the operator's own lines name what was revoked
				body, _ := json.Marshal(map[string]string{"user": text})
				if status := ask(t, http.MethodPost, s.admin, "/revocations", string(body)); status == http.StatusOK && strings.ContainsAny(text, "\r\n") {
					t.Errorf("user %q was revoked", text)
				}
			}
			// "slow" is for mode aggressive.
			half, err := dial(s.address, rawTCP, 0)
			if err != nil {
				t.Fatal(err)
			}
			half.write([]byte{100, 1})
			ends(half)

			// Who is to be found.
			var want []string
			denied := func(reason string) { want = append(want, reason) }
			ends(connect(&v1.Connect{Token: "x.y.z"}))
			denied("bad_token")
			for _, text := range forged {
				head, _ := json.Marshal(map[string]string{"alg": "HS256", "kid": text})
				ends(connect(&v1.Connect{Token: base64.RawURLEncoding.EncodeToString(head) + ".e30.AAAA"}))
				denied("bad_token")
			}
			ends(connect(&v1.Connect{Name: forged[0]}))
			denied("bad_token")
			if status := ask(t, http.MethodPost, s.admin, "/revocations", `{"token":"stolen"}`); status != http.StatusOK {
				t.Fatalf("revoke a token: %d", status)
			}
			ends(connect(&v1.Connect{Token: token(jwt.MapClaims{"sub": "a", "exp": inAnHour, "jti": "stolen"}, "")}))
			denied("token_revoked")
			banFromServer(t, connect(&v1.Connect{Token: token(jwt.MapClaims{"sub": "operator", "exp": inAnHour, "moderate": []string{"*"}}, "")}), "villain")
			ends(connect(&v1.Connect{Token: token(jwt.MapClaims{"sub": "villain", "exp": inAnHour}, "")}))
			denied("banned")
			raw("EHLO x\r\n")
			denied("bad_handshake")
			raw("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \"level=WARN\r\n\r\n")
			denied("bad_handshake")
			raw(proto.Preface + "\x02\xff\xff")
			denied("bad_frame")
			quick, err := dial(s.address, rawTCP, 0)
			if err != nil {
				t.Fatal(err)
			}
			quick.send(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			ends(quick)
			denied("not_connected")
			second, err := dial(s.address, rawTCP, 0) // "user_connections" is for mode aggressive
			if err != nil {
				t.Fatal(err)
			}
			second.send(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: `level=WARN msg="access denied" address=198.51.100.9 reason=flood`}}})
			ends(second)
			flood, err := login(s.address, rawTCP, "flood")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for range 5000 {
					if _, err := flood.send(publishRequest("r", "", "x")); err != nil {
						return
					}
				}
			}()
			ends(flood)
			denied("flood")

			normal := slices.Concat(want, []string{"slow", "token_expired", "user_connections"})
			slices.Sort(normal)
			var lines []string
			for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				lines = whole(s.log())
				got := reasons(lines)
				slices.Sort(got)
				if slices.Equal(got, normal) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the server wrote lines with the reasons %q, want %q:\n%s", got, normal, s.log())
				}
			}
			for options, n := range map[string]int{"": len(want), "[mode=aggressive]": len(want) + 2} {
				got := matched(t, lines, options)
				if len(got) != n || slices.ContainsFunc(got, func(ip string) bool { return ip != "127.0.0.1" }) {
					t.Errorf("with options %q fail2ban finds %q, want 127.0.0.1 %d times in:\n%s", options, got, n, strings.Join(lines, "\n"))
				}
			}
			others := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return len(reasons([]string{line})) > 0 })
			if got := matched(t, others, "[mode=aggressive]"); len(others) < 3 || len(got) > 0 {
				t.Errorf("of %d ordinary lines fail2ban finds %q", len(others), got)
			}
			// As syslog and the journal have them.
			for _, prefix := range []string{"Nov 22 12:00:00 host rookery[812]: ", "2025-11-22T12:00:00.000000+00:00 host rookery[812]: ", "host rookery[812]: "} {
				var prefixed []string
				for _, line := range lines {
					prefixed = append(prefixed, prefix+line)
				}
				if got := matched(t, prefixed, ""); len(got) != len(want) {
					t.Errorf("behind %q fail2ban finds %d lines, want %d", prefix, len(got), len(want))
				}
			}
		})
	}
}

// banFromServer has a moderator of the whole server, who is connecting, ban a user.
func banFromServer(t *testing.T, moderator *peer, user string) {
	t.Helper()
	id, err := moderator.send(&v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{Action: "ban", User: user}}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := moderator.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Id != id {
			continue
		}
		if f.GetMember().GetAction() != "ban" {
			t.Fatalf("the ban was answered with %v", f)
		}
		return
	}
}

// TestJailIsRead by the real fail2ban, with the filter beside it.
func TestJailIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for from, to := range map[string]string{fail2banFilter: "filter.d/rookery.conf", fail2banJail: "jail.d/rookery.conf"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(to)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "action.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"fail2ban.conf": "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = " + dir + "/s\npidfile = " + dir + "/p\ndbfile = None\ndbpurgeage = 1d\n",
		"jail.conf":     "[DEFAULT]\naction = ban[port=\"%(port)s\"]\n",
		// It stands for the action that closes the ports.
		"action.d/ban.conf": "[Definition]\nactionban = true\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("fail2ban-client", "-c", dir, "-d").CombinedOutput()
	if err != nil {
		t.Fatalf("fail2ban-client, of Debian's package fail2ban, which test/setup installs: %v\n%s", err, out)
	}
	for _, want := range []string{"['add', 'rookery', 'systemd']", "['set', 'rookery', 'maxretry', 10]", "['start', 'rookery']", "'8080,8443'", "reason=(?:bad_token|"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("fail2ban does not read %s from the jail:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "ERROR") {
		t.Errorf("fail2ban complains:\n%s", out)
	}
}
