package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/calls"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/members"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const secret = "a secret of 32 bytes and of more"

// silent are owners that take everything and answer nothing.
type silent struct{}

func (silent) Send(handoff.Command) bool { return true }
func (silent) Read(handoff.Read) bool    { return true }
func (silent) Ask(handoff.Presence) bool { return true }
func (silent) Call(ctx context.Context, _ handoff.MemberRequest) (*v1.ServerFrame, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("wait for the keeper of members: %w", context.Cause(ctx))
}

// rig is an API whose owners the test makes.
type rig struct {
	t     *testing.T
	api   *API
	calls *calls.Calls
}

func newRig(t *testing.T, change func(*Config)) *rig {
	r := &rig{t: t}
	r.calls = calls.Start(silent{}, silent{}, handoff.NewMailbox[handoff.Event](1<<20), 0)
	t.Cleanup(r.calls.Close)
	cfg := Config{
		Calls: r.calls, Members: silent{}, MessageBytes: 1 << 10, Log: slog.New(slog.DiscardHandler),
		Room:       func(room string) (Room, error) { return Room{Room: room, Kind: "plain"}, nil },
		Kind:       func(string) handoff.RoomKind { return handoff.Plain },
		Ephemeral:  func(string) bool { return false },
		DirectRoom: func(a, b string) string { return "" },
		Disconnect: func(string, string) {},
		Export:     func(context.Context, io.Writer, Export) error { return nil },
		Figures:    func() Figures { return Figures{} },
	}
	if change != nil {
		change(&cfg)
	}
	r.api = New(cfg)
	t.Cleanup(r.api.Close)
	keys, err := ParseKeys("k publish,read,rooms,users,export,stats " + strings.ReplaceAll(secret, " ", "-"))
	if err != nil {
		t.Fatal(err)
	}
	r.api.SetKeys(keys)
	return r
}

func (r *rig) request(ctx context.Context, method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+strings.ReplaceAll(secret, " ", "-"))
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req)
	return w
}

// refused gives the sentence of an answer that is this error.
func (r *rig) refused(w *httptest.ResponseRecorder, code proto.ErrorCode) string {
	r.t.Helper()
	var read struct {
		Error struct {
			Code          uint32
			Name, Message string
			Retry         bool
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &read); err != nil {
		r.t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	if e := read.Error; w.Code != int(code.Code) || e.Code != code.Code || e.Name != code.Name || e.Retry != code.Retry || e.Message == "" {
		r.t.Errorf("got %d %s, want %v", w.Code, w.Body, code)
	}
	return read.Error.Message
}

// TestOneLineOfStrangers: whoever has no key can ask as often as they like.
func TestOneLineOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		r := newRig(t, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&said, nil)) })
		ask := func() {
			w := httptest.NewRecorder()
			r.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/stats", nil))
			r.refused(w, proto.ErrUnauthorized)
		}
		for range 3 {
			ask()
		}
		time.Sleep(time.Second)
		ask()
		if lines := strings.Split(strings.TrimSpace(said.String()), "\n"); len(lines) != 2 || !strings.Contains(lines[1], "unlogged=2") {
			t.Errorf("the log has\n%s\nwant two lines, and in the second one how many were left out", &said)
		}
	})
}

// TestEveryWaitHasABound: owners that never answer; each sentence says whether it may have happened.
func TestEveryWaitHasABound(t *testing.T) {
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x"}`, withoutRetryKeys},
		{"POST", "/v1/rooms/r/messages", `{"user":"u","text":"x","key":"k"}`, mayBePublished},
		{"PATCH", "/v1/rooms/r/messages/1", `{"user":"u","text":"x"}`, withoutRetryKeys},
		{"DELETE", "/v1/rooms/r/messages/1?user=u", "", withoutRetryKeys},
		{"GET", "/v1/rooms/r/messages", "", nothingHappened},
		{"POST", "/v1/rooms", `{"room":"group:r"}`, mayHaveHappened},
		{"PATCH", "/v1/rooms/r", `{}`, mayHaveHappened},
		{"POST", "/v1/rooms/r/members", `{"user":"u","action":"kick"}`, mayHaveHappened},
		{"GET", "/v1/rooms/r/members", "", nothingHappened},
		{"GET", "/v1/users/u/rooms", "", nothingHappened},
		{"PUT", "/v1/users/u/ban", `{}`, mayHaveHappened},
		{"DELETE", "/v1/users/u/ban", "", mayHaveHappened},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				begun := time.Now()
				w := r.request(t.Context(), c.method, c.path, c.body)
				if text := r.refused(w, ErrTimeout); !strings.HasSuffix(text, c.want) {
					t.Errorf("the sentence is %q, want %q", text, c.want)
				}
				if took := time.Since(begun); took != 10*time.Second {
					t.Errorf("it took %v", took)
				}
				if !r.api.Idle() {
					t.Error("its place is not free again")
				}
			})
		})
	}
	t.Run("broadcast", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			w := r.request(t.Context(), "POST", "/v1/broadcast", `{"rooms":["a","b"],"user":"u","text":"x"}`)
			if w.Code != 200 || strings.Count(w.Body.String(), `"timeout"`) != 2 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	})
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Requests = 3 })
		answers := make(chan *httptest.ResponseRecorder, 3)
		ctx, giveUp := context.WithCancel(t.Context())
		for range 3 {
			go func() { answers <- r.request(ctx, "GET", "/v1/rooms/r/messages", "") }()
		}
		synctest.Wait()
		r.refused(r.request(t.Context(), "GET", "/v1/rooms/r", ""), proto.ErrOverloaded)
		if w := httptest.NewRecorder(); r.api.Idle() {
			t.Error("nothing is under way")
		} else {
			r.api.ServeHTTP(w, httptest.NewRequest("GET", "/v1/openapi.json", nil))
			if w.Code != 200 {
				t.Errorf("the document: %d", w.Code)
			}
		}
		giveUp()
		for range 3 {
			r.refused(<-answers, ErrTimeout)
		}
		if w := r.request(t.Context(), "GET", "/v1/rooms/r", ""); w.Code != 200 {
			t.Errorf("after that: %d %s", w.Code, w.Body)
		}
		r.api.Refuse()
		r.refused(r.request(t.Context(), "GET", "/v1/rooms/r", ""), proto.ErrDraining)
	})
}

// TestOneExport at a time, which ends when the server leaves, in a way that shows.
func TestOneExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Export = func(ctx context.Context, out io.Writer, what Export) error {
				fmt.Fprintf(out, "%+v\n", what)
				<-ctx.Done()
				return ctx.Err()
			}
		})
		ended := make(chan any, 1)
		var w *httptest.ResponseRecorder
		go func() {
			defer func() { ended <- recover() }()
			req := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/export?room=r&user=u&from=7", nil)
			req.Header.Set("Authorization", "Bearer "+strings.ReplaceAll(secret, " ", "-"))
			w = httptest.NewRecorder()
			r.api.ServeHTTP(w, req)
		}()
		synctest.Wait()
		time.Sleep(time.Hour) // of the bubble: an export has no bound but that of each piece
		r.refused(r.request(t.Context(), "GET", "/v1/export?room=r", ""), proto.ErrOverloaded)
		r.api.Refuse()
		if got := <-ended; got != http.ErrAbortHandler {
			t.Errorf("an export that ended early ended with %v", got)
		}
		if got := w.Body.String(); got != "{Room:r User:u From:7}\n" || !r.api.Idle() {
			t.Errorf("it was asked for %q", got)
		}
	})
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&calls.Refusal{Code: proto.ErrOverloaded, Text: "busy"}, `{"error":{"code":503,"name":"overloaded","message":"busy","retry":true}}`},
		{&members.Refusal{Code: proto.ErrNoSuchMember, Text: "none"}, `{"error":{"code":404,"name":"no_such_member","message":"none","retry":false}}`},
		{calls.ErrClosed, `{"error":{"code":503,"name":"draining","message":"The server is shutting down. Maybe.","retry":true}}`},
		{errors.New("no idea"), `{"error":{"code":500,"name":"internal","message":"The request failed: no idea. Maybe.","retry":true}}`},
	} {
		got, err := json.Marshal(fault(c.err, "Maybe."))
		if err != nil || string(got) != c.want {
			t.Errorf("%v: %s, %v, want %s", c.err, got, err, c.want)
		}
	}
	names := map[string]bool{}
	for _, e := range append(proto.Errors(), Errors()...) {
		if names[e.Name] {
			t.Errorf("the name %s is there twice", e.Name)
		}
		names[e.Name] = true
	}
}

func TestParseKeys(t *testing.T) {
	const good = "abcdefghijklmnopqrstuvwxyz012345"
	for _, c := range []struct{ text, want string }{
		{"one", "line 1 has 1 words"},
		{"\n# x\na read " + good + " more", "line 3 has 4 words"},
		{"a write " + good, "scope that is none of publish, read"},
		{"a read, " + good, "scope that is none of"},
		{"a read short", "5 bytes, which can be guessed"},
		{"a read " + good + "\na stats " + good + "x", "name or the secret of another"},
		{"a read " + good + "\nb stats " + good, "name or the secret of another"},
		{strings.Repeat("a", 65) + " read " + good, "longer than 64"},
		{"a\x01 read " + good, "not printable"},
	} {
		if _, err := ParseKeys(c.text); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), good) {
			t.Errorf("%q: %v, want %s and no secret", c.text, err, c.want)
		}
	}
	var many strings.Builder
	for i := range maxKeys + 1 {
		fmt.Fprintf(&many, "k%d read %s%d\n", i, good, i)
	}
	if _, err := ParseKeys(many.String()); err == nil || !strings.Contains(err.Error(), "more than 100 keys") {
		t.Errorf("too many keys: %v", err)
	}
	keys, err := ParseKeys("# keys\r\nfirst\tpublish,read  " + good + "\r\n\r\nsecond stats " + good + "2")
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	if k := keys.find(good); k == nil || k.name != "first" || !k.has(ScopeRead) || k.has(ScopeStats) {
		t.Errorf("the first key is %v", k)
	}
	if k := keys.find(good + "2"); k == nil || k.name != "second" {
		t.Errorf("the second key is %v", k)
	}
	for _, wrong := range []string{"", good[1:], good + "3", "first"} {
		if k := keys.find(wrong); k != nil {
			t.Errorf("%q opens %s", wrong, k.name)
		}
	}
	if keys, err := ParseKeys("# none\n"); err != nil || len(keys) != 0 {
		t.Errorf("no keys: %v, %v", keys, err)
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		r := newRig(t, func(c *Config) {
			c.Figures = func() Figures {
				// 100 a second since the start.
				return Figures{Counts: Counts{Published: 100 * int64(time.Since(begun)/time.Second)}}
			}
		})
		rates := func() Rates {
			t.Helper()
			synctest.Wait()
			var read Stats
			w := r.request(t.Context(), "GET", "/v1/stats", "")
			if err := json.Unmarshal(w.Body.Bytes(), &read); err != nil || w.Code != 200 {
				t.Fatalf("%d %s %v", w.Code, w.Body, err)
			}
			if read.At != uint64(time.Now().UnixMilli()) {
				t.Errorf("the figures are of %d", read.At)
			}
			return read.Rates
		}
		if got := rates(); got != (Rates{}) {
			t.Errorf("at the start the rates are %+v", got)
		}
		for second := 1; second <= 60; second++ {
			time.Sleep(time.Second) // of the bubble
			got := rates()
			// The samples are at 0, 10, 20…; from the third on the older one is ten to twenty seconds old.
			if got.Published != 100 || got.Seconds > 20 || second > 20 && got.Seconds < 10 {
				t.Fatalf("after %d seconds the rates are %+v", second, got)
			}
		}
	})
}
