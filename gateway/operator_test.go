package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/api"
	"rookery/gateway/internal/operator"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// asBrowser asks the admin listener under a name, with headers.
func asBrowser(t *testing.T, srv *gatewaytest.Server, method, path, host string, header http.Header) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.AdminAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

// follow opens the stream of looks, until ctx or the test ends.
func follow(t *testing.T, ctx context.Context, srv *gatewaytest.Server) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+srv.AdminAddr()+"/ops/looks", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// looks follows the stream of looks, and hands each on until one is what was wanted.
func looks(t *testing.T, srv *gatewaytest.Server, what string, wanted func(operator.Look) bool) operator.Look {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	res := follow(t, ctx, srv)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	var look operator.Look
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		look = operator.Look{}
		if err := json.Unmarshal([]byte(data), &look); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if wanted(look) {
			return look
		}
	}
	t.Fatalf("no look says %s, the last is %+v", what, look)
	return look
}

// TestALookSaysWhatHappened: what an operator sees is what the peers have done.
func TestALookSaysWhatHappened(t *testing.T) {
	const loops = 2
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Loops = loops })
	var peers []*peer
	for i := range 9 {
		p := login(t, srv.Addr(), wires[i%len(wires)], fmt.Sprint("user-", i))
		for room := range 12 {
			if i%(room/3+1) == 0 {
				p.enter(fmt.Sprint("room-", room))
			}
		}
		peers = append(peers, p)
	}
	published := 0
	publish := func(room string) {
		peers[0].publish(room, "", "x")
		for peers[0].must().GetPublished() == nil { // its own copies come beside
		}
		published++
	}
	look := looks(t, srv, "which rooms are large", func(l operator.Look) bool {
		return l.Survey.Answered == loops && len(l.Survey.Largest) == 10 && l.Connections.Subscriptions == 60
	})
	if got := fmt.Sprint(look.Survey.Largest[:4]); got != "[{room-0 9} {room-1 9} {room-2 9} {room-3 5}]" {
		t.Errorf("the largest rooms are %v", look.Survey.Largest)
	}
	look = looks(t, srv, "which rooms are busy", func(l operator.Look) bool {
		publish("room-0")
		publish("room-0")
		publish("room-5")
		return l.Rates.Deliveries > 0 && len(l.Survey.Busiest) > 1 && l.Survey.Busiest[0].Room == "room-0" && l.Publish.Count > 0 && l.Log.Bytes > 0
	})
	if busiest := look.Survey.Busiest; len(busiest) != 2 || busiest[1].Room != "room-5" || busiest[0].Count <= busiest[1].Count || look.Survey.Seconds <= 0 {
		t.Errorf("the busiest rooms are %v over %v s", busiest, look.Survey.Seconds)
	}
	c := look.Connections
	protocols := map[string]int64{}
	for _, p := range c.Protocols {
		protocols[p.Name] = p.Count
	}
	if c.Open != 9 || c.Sessions != 9 || c.Rooms != 12 || len(protocols) != 4 || protocols["raw TCP"]+protocols["WebSocket, binary"]+protocols["WebSocket, JSON"] != 9 || protocols["raw TCP"] == 0 {
		t.Errorf("the connections are %+v", c)
	}
	if look.Server.State != "serving" || !look.Server.Dev || look.Server.Uptime <= 0 || look.Server.Problem != "" {
		t.Errorf("the server is %+v", look.Server)
	}
	if m := look.Memory; m.Resident < 1<<20 || m.PerConnection != float64(m.Resident)/9 || m.Kernel.Fault == "" && m.Kernel.InUse < 9 {
		t.Errorf("the memory is %+v", m)
	}
	if p := look.Publish; p.Median <= 0 || p.P99 < p.Median || p.P999 < p.P99 || look.Log.Records < p.Count {
		t.Errorf("publishes took %+v; the log is %+v", p, look.Log)
	}
	if len(look.Loops) != loops || look.Loops[0].Connections+look.Loops[1].Connections != 9 || look.Rates.Deliveries <= 0 || look.Ship != nil {
		t.Errorf("the look is %+v", look)
	}

	peers[0].publish(strings.Repeat("x", 200), "", "x")
	for _, p := range peers[1:] {
		p.conn.Close()
	}
	look = looks(t, srv, "what was refused", func(l operator.Look) bool { return l.Connections.Sessions == 1 && len(l.Limits.Errors) > 0 })
	if e := look.Limits; e.Errors[0].Name != proto.ErrBadRequest.Name || e.Errors[0].Count != 1 || e.Closed[0].Name != "peer" || e.Closed[0].Count != 8 {
		t.Errorf("the limits are %+v", e)
	}
	if _, _, body := asBrowser(t, srv, "GET", "/ops/look", "", nil); json.Unmarshal([]byte(body), &look) != nil || look.Connections.Sessions != 1 {
		t.Errorf("a single look is %s", body)
	}
}

// TestALookSaysWhoIsBehind: somebody who does not read is named.
func TestALookSaysWhoIsBehind(t *testing.T) {
	srv := gatewaytest.Start(t)
	slow, writer := login(t, srv.Addr(), wires[0], "snail"), login(t, srv.Addr(), wires[0], "writer")
	slow.enter("r")
	for range 250 {
		writer.publish("r", "", strings.Repeat("x", 60<<10))
		writer.must()
	}
	look := looks(t, srv, "who is behind", func(l operator.Look) bool {
		return len(l.Survey.Behind) > 0 && l.Survey.Behind[0].Rooms == 1
	})
	if kept := metric(t, srv, "rookery_recent_bytes"); look.Memory.Recent == 0 || float64(look.Memory.Recent) != kept {
		t.Errorf("%d bytes are kept for them, %v by the metric", look.Memory.Recent, kept)
	}
	if b := look.Survey.Behind; len(b) != 1 || b[0].User != "snail" || b[0].Waiting <= 0 || b[0].Session == "" || look.Behind != 1 {
		t.Errorf("behind are %+v, %d of all", b, look.Behind)
	}
	for range 250 {
		slow.must()
	}
	look = looks(t, srv, "that nobody is behind any more", func(l operator.Look) bool { return l.Behind == 0 })
	recent, pages := metric(t, srv, "rookery_recent_deliveries_total"), metric(t, srv, "rookery_pages_total")
	if c := look.Counts; recent == 0 || float64(c.Recent) != recent || float64(c.Pages) != pages {
		t.Errorf("%d messages from memory and %d pages, %v and %v by the metrics", c.Recent, c.Pages, recent, pages)
	}
}

func TestOnlySoManyLook(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 8 {
		follow(t, ctx, srv)
	}
	for _, path := range []string{"/ops/look", "/ops/looks"} {
		if code, _, body := asBrowser(t, srv, "GET", path, "", nil); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "As many look") {
			t.Errorf("one more at %s: %d %s", path, code, body)
		}
	}
	cancel()
	eventually(t, "there is room again", func() bool {
		code, _, _ := asBrowser(t, srv, "GET", "/ops/look", "", nil)
		return code == http.StatusOK
	})
}

// TestTheOperatorsPageIsServed, and nothing beside it, with headers that keep it to itself.
func TestTheOperatorsPageIsServed(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.AdminHosts = []string{"ops.example.com"} })
	for path, want := range map[string]int{
		"/ops": 200, "/ops/": 200, "/ops/operator/page.js": 200, "/ops/operator/page.css": 200, "/ops/page/app/icon.svg": 200, "/ops/page/app/chat.js": 404,
		"/ops/operator/": 404, "/ops/operator/index.html": 404, "/ops/../metrics": 200, "/ops/settings": 200,
		"/debug/pprof/": 200, "/debug/pprof/cmdline": 404, // where flags are, and those may be secrets
	} {
		code, header, body := asBrowser(t, srv, "GET", path, "", nil)
		if code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
		if strings.HasPrefix(path, "/ops/") && code == 200 && path != "/ops/../metrics" &&
			(!strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("Cache-Control") != "no-store" || header.Get("Cross-Origin-Resource-Policy") != "same-origin") {
			t.Errorf("%s has the headers %v", path, header)
		}
		if path == "/ops/settings" && (strings.Contains(body, fullSecret) || !strings.Contains(body, `admin_hosts: ["ops.example.com"]`)) {
			t.Errorf("the settings are\n%s", body)
		}
	}
}

// TestPagesOfOthersDoNothing: neither by a request from elsewhere, nor by a name of theirs that leads here.
func TestPagesOfOthersDoNothing(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.AdminHosts = []string{"ops.example.com"} })
	addr := srv.AdminAddr()
	_, port, _ := strings.Cut(addr, ":")
	from := func(origin string) http.Header { return http.Header{"Origin": {origin}} }
	for _, test := range []struct {
		method, path, host string
		header             http.Header
		want               int
	}{
		{"GET", "/ops/look", "", nil, 200},
		{"GET", "/ops/look", "localhost:" + port, nil, 200},
		{"GET", "/ops/look", "[::1]:" + port, nil, 200},
		{"GET", "/ops/look", "OPS.example.com.", nil, 200},
		{"GET", "/ops/look", "evil.example:" + port, nil, 421},
		{"GET", "/ops", "evil.example", nil, 421},
		{"GET", "/ops/", "localhost.evil.example", nil, 421},
		{"GET", "/metrics", "rookery:9090", nil, 200}, // a monitor's name for it
		{"GET", "/healthz", "rookery:9090", nil, 200},
		{"GET", "/readyz", "rookery:9090", nil, 200},
		{"GET", "/v1/stats", "rookery:9090", nil, 401}, // a backend's, which has a key
		{"GET", "/revocations", "", nil, 200},
		{"GET", "/revocations", "ops.example.com:" + port, nil, 200},
		{"GET", "/revocations", "evil.example:" + port, nil, 421},
		{"HEAD", "/revocations", "evil.example", nil, 421},
		{"GET", "/rooms/lobby/retention", "evil.example", nil, 421},
		{"GET", "/push/dead", "evil.example", nil, 421},
		{"GET", "/webhooks/dead", "evil.example", nil, 421},
		{"GET", "/debug/pprof/heap", "evil.example", nil, 421},
		{"POST", "/revocations", "rookery:9090", nil, 400},
		{"POST", "/revocations", "", from("http://evil.example"), 403},
		{"POST", "/revocations", "", from("null"), 403},
		{"POST", "/revocations", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"GET", "/debug/pprof/heap", "", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}}, 403},
		{"GET", "/ops/look", "", http.Header{"Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Dest": {"empty"}}, 403},
		{"GET", "/ops/", "", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"iframe"}}, 403},
		{"GET", "/ops/", "", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"document"}}, 200},
		{"GET", "/ops/look", "", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Dest": {"empty"}}, 200},
		{"GET", "/ops/", "", http.Header{"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Dest": {"document"}}, 200},
		{"POST", "/revocations", "evil.example", from("http://evil.example"), 421},
		{"POST", "/revocations", "", from("http://" + addr), 400},
		{"POST", "/revocations", "ops.example.com", from("https://ops.example.com"), 400},
		{"POST", "/v1/users/bob/disconnect", "", http.Header{"Origin": {"http://evil.example"}, "Authorization": {"Bearer " + fullSecret}}, 403},
		{"POST", "/v1/users/bob/disconnect", "", http.Header{"Origin": {"http://" + addr}, "Authorization": {"Bearer " + fullSecret}}, 204},
		{"DELETE", "/rooms/lobby/retention", "evil.example", from("http://evil.example"), 421},
	} {
		if code, _, body := asBrowser(t, srv, test.method, test.path, test.host, test.header); code != test.want {
			t.Errorf("%s %s as %q with %v: %d %s, want %d", test.method, test.path, test.host, test.header, code, body, test.want)
		}
	}
}

// TestATrace: what a user does is told, what they say is not, and who looked is written down.
func TestATrace(t *testing.T) {
	eachTraced := func(t *testing.T, w wire) {
		path := filepath.Join(t.TempDir(), "audit.log")
		srv := gatewaytest.Start(t, withAPI, func(c *gateway.Config) { c.AuditFile = path })
		alice := login(t, srv.Addr(), w, "alice")
		alice.enter("lobby")
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+srv.AdminAddr()+"/v1/users/alice/trace", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+fullSecret)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
		var raw strings.Builder
		lines := bufio.NewScanner(io.TeeReader(res.Body, &raw))
		next := func() (l api.TraceLine) {
			t.Helper()
			if !lines.Scan() {
				t.Fatalf("the trace has ended: %v after\n%s", lines.Err(), raw.String())
			}
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatalf("%v in %s", err, lines.Text())
			}
			return l
		}
		if l := next(); l.Kind != "begin" || l.User != "alice" {
			t.Fatalf("it begins with %+v", l)
		}
		written, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(written), `"operation":"trace-user","key":"full"`) || !strings.Contains(string(written), "/v1/users/alice/trace") {
			t.Errorf("while it goes on the audit log is %q, %v", written, err)
		}
		// The loop finds the connection in a turn of its own.
		text := "this is between alice and the room " + strings.Repeat("x", 500)
		eventually(t, "a request is seen", func() bool {
			alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			alice.must()
			return srv.Logged("a user is traced")
		})
		alice.publish("lobby", "the-retry-key", text)
		for seen := false; !seen; {
			seen = alice.must().GetMessage() != nil
		}
		var got []string
		for !slices.Contains(got, "out message lobby 1") {
			l := next()
			if l.TraceEntry == nil || l.Operation == "ping" || l.Operation == "pong" {
				continue
			}
			if (l.Operation == "publish" || l.Operation == "message") && l.Bytes < len(text) {
				t.Errorf("%s is said to have %d bytes", l.Operation, l.Bytes)
			}
			got = append(got, fmt.Sprint(l.Direction, " ", l.Operation, " ", l.Room, " ", l.Seq))
		}
		if want := []string{"in publish lobby 0", "out published lobby 1", "out message lobby 1"}; !slices.Equal(got, want) {
			t.Errorf("the trace says %v, want %v", got, want)
		}
		alice.conn.Close()
		for l := next(); l.TraceEntry == nil || l.Direction != "ended"; l = next() {
		}
		srv.Stop()
		for lines.Scan() {
		}
		if said := raw.String(); strings.Contains(said, "between alice") || strings.Contains(said, "xxx") || strings.Contains(said, "retry-key") {
			t.Errorf("what was said is in the trace:\n%s", said)
		}
		if !strings.HasSuffix(strings.TrimSpace(raw.String()), `{"kind":"end"}`) {
			t.Errorf("it ends with\n%s", raw.String())
		}
		written, _ = os.ReadFile(path)
		if n := strings.Count(string(written), "trace-user"); n != 1 {
			t.Errorf("it is in the audit log %d times:\n%s", n, written)
		}
	}
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) { eachTraced(t, w) })
	}
}

// TestTracingAgain: whoever ends a trace and begins it again at once is not told that there is one. The page does so with each press of its button, and
// its end may come behind the next request.
func TestTracingAgain(t *testing.T) {
	srv := gatewaytest.Start(t, withAPI)
	trace := func(ctx context.Context) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+srv.AdminAddr()+"/v1/users/alice/trace", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+fullSecret)
		return http.DefaultClient.Do(req)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	first, err := trace(ctx)
	if err != nil || first.StatusCode != http.StatusOK {
		t.Fatal(err, first)
	}
	defer first.Body.Close()
	time.AfterFunc(100*time.Millisecond, end) // it comes behind the next request, mostly
	again, err := trace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Body.Close()
	if said, _ := bufio.NewReader(again.Body).ReadString('\n'); again.StatusCode != http.StatusOK || !strings.Contains(said, "begin") {
		t.Errorf("%s: %s", again.Status, said)
	}
}

func TestTracesTakeAKeyAndArePerUser(t *testing.T) {
	srv := gatewaytest.Start(t, withAPI)
	(&backend{t: t, srv: srv, secret: readSecret}).refused("GET", "/v1/users/alice/trace", "", 403, "scope_missing")
	b := newBackend(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 4 {
		req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprint("http://", srv.AdminAddr(), "/v1/users/user-", i, "/trace"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+fullSecret)
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(err, res)
		}
		defer res.Body.Close()
		if i == 0 {
			if text := b.refused("GET", "/v1/users/user-0/trace", "", 503, "overloaded"); !strings.HasPrefix(text, "The user is traced already") {
				t.Error(text)
			}
		}
	}
	if text := b.refused("GET", "/v1/users/one-more/trace", "", 503, "overloaded"); !strings.HasPrefix(text, "4 users are traced already") {
		t.Error(text)
	}
	cancel()
	eventually(t, "those that have ended make room", func() bool {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+srv.AdminAddr()+"/v1/users/alice/trace", nil)
		req.Header.Set("Authorization", "Bearer "+fullSecret)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}
