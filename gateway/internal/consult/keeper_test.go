package consult

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/webhook"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is an application, and the rooms that get their publishes back.
type app struct {
	mu      sync.Mutex // guards all below
	asked   []string   // what was said
	decided []handoff.Command
	ended   [][]endedBody
	flying  int
	most    int

	answer func(text string) (status int, body string, after time.Duration)
}

// Post implements Hook.
func (a *app) Post(ctx context.Context, _, kind string, data any) (*webhook.Answer, error) {
	text := kind
	if kind == "publish" {
		var said struct{ Text string }
		if err := json.Unmarshal(data.(publishBody).Message, &said); err != nil {
			return nil, err
		}
		text = said.Text
	}
	a.mu.Lock()
	a.flying++
	a.most = max(a.most, a.flying)
	if kind == "disconnect" {
		a.ended = append(a.ended, data.(endedBodies).Sessions)
	}
	a.asked = append(a.asked, text)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.flying--
		a.mu.Unlock()
	}()
	status, body, after := a.answer(text)
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &webhook.Answer{Status: status, Body: []byte(body)}, nil
}

func (a *app) seen() (asked []string, decided []handoff.Command) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked), slices.Clone(a.decided)
}

const allow = `{"allow":true}`

func consultant(a *app, change func(*Config)) *Keeper {
	cfg := Config{
		Hook:  a,
		Loops: []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](1 << 20)},
		Decided: func(c handoff.Command) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.decided = append(a.decided, c)
		},
		Timeout: time.Second, Concurrency: 2, AskConnect: true, TellEnded: true,
		Standing:     func(*handoff.Command) *handoff.Refusal { return nil },
		Claims:       func(*identity.Rights) any { return nil },
		Rights:       func(string, json.RawMessage) (*identity.Rights, error) { return nil, errors.New("none") },
		MessageBytes: 1 << 10, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	return Start(cfg)
}

func publish(room, user, text string) handoff.Command {
	return handoff.Command{
		Kind: handoff.Publish, Room: room, User: user, Ask: true,
		Content: proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: text}}),
	}
}

// TestLines: what one user says in one room is asked about in order and one at a time, and others do not wait for it.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{answer: func(string) (int, string, time.Duration) { return 200, allow, 100 * time.Millisecond }}
		k := consultant(a, nil)
		for i := range 3 {
			if refusal := k.Ask(publish("lobby", "ann", fmt.Sprint(i))); refusal != nil {
				t.Fatal(refusal)
			}
		}
		k.Ask(publish("lobby", "ben", "b"))
		k.Ask(publish("hall", "ann", "h"))
		time.Sleep(50 * time.Millisecond)
		if asked, _ := a.seen(); !slices.Equal(slices.Sorted(slices.Values(asked)), []string{"0", "b"}) {
			t.Errorf("first asked about %v", asked)
		}
		time.Sleep(time.Second)
		k.Close()
		asked, decided := a.seen()
		asked = slices.DeleteFunc(asked, func(s string) bool { return s > "9" })
		if !slices.Equal(asked, []string{"0", "1", "2"}) || len(decided) != 5 || a.most != 2 {
			t.Errorf("asked about %v, decided %d, %d at the same time", asked, len(decided), a.most)
		}
		if s := k.Stats(); s.Waiting != 0 || s.Bytes != 0 || s.Events[publishEvent].Asked != 5 || len(k.lines) != 0 {
			t.Errorf("left %+v and %d lines", s, len(k.lines))
		}
	})
}

// TestBounds: too much that waits is refused, and a question takes no longer than it may, whether it is with the application or waits for its turn.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{answer: func(string) (int, string, time.Duration) { return 200, allow, time.Hour }}
		k := consultant(a, func(c *Config) { c.WaitingBytes = 2000 })
		taken := 0
		for i := range 100 {
			refusal := k.Ask(publish("lobby", fmt.Sprint("user", i), "hi"))
			if refusal == nil {
				taken++
			} else if refusal.Code != proto.ErrOverloaded || refusal.Wait == 0 {
				t.Fatalf("refused with %+v", refusal)
			}
		}
		time.Sleep(time.Second + time.Millisecond)
		asked, decided := a.seen()
		if taken < 5 || taken > 10 || len(decided) != taken || len(asked) != 2 {
			t.Errorf("of %d taken %d were decided, and %d asked about", taken, len(decided), len(asked))
		}
		for _, c := range decided {
			if c.Refusal == nil || c.Refusal.Code != proto.ErrOverloaded || c.Refusal.Wait == 0 {
				t.Errorf("what was not answered was decided with %+v", c.Refusal)
			}
		}
		e := k.Stats().Events[publishEvent]
		if e.Overloaded != int64(100-taken) || e.Failed != int64(taken) {
			t.Errorf("counted %+v", e)
		}
		k.Close()
	})
}

// TestClose: everything that was taken is answered, once.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{answer: func(string) (int, string, time.Duration) { return 200, allow, time.Hour }}
		k := consultant(a, func(c *Config) { c.Timeout = time.Hour })
		for i := range 4 {
			for range 3 {
				k.Ask(publish("lobby", fmt.Sprint("user", i), "hi"))
			}
		}
		k.Connect(handoff.Connect{ID: 7, User: "ann"})
		synctest.Wait()
		k.Close()
		_, decided := a.seen()
		for _, c := range decided {
			if c.Refusal == nil || c.Refusal.Code != proto.ErrDraining {
				t.Errorf("decided with %+v", c.Refusal)
			}
		}
		events := k.cfg.Loops[0].Take(nil)
		if len(decided) != 12 || len(events) != 1 || events[0].Code != proto.ErrDraining || events[0].ID != 7 {
			t.Errorf("%d publishes were decided, and the loop told %+v", len(decided), events)
		}
		if refusal := k.Ask(publish("lobby", "ann", "hi")); refusal == nil || refusal.Code != proto.ErrDraining {
			t.Errorf("after that: %+v", refusal)
		}
		if s := k.Stats(); s.Waiting != 0 || s.Bytes != 0 {
			t.Errorf("left %+v", s)
		}
	})
}

// TestDown: an application that does not answer is asked once in a while, and what comes meanwhile does not wait for it.
func TestDown(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var answers atomic.Bool
			a := &app{}
			a.answer = func(string) (int, string, time.Duration) {
				if !answers.Load() {
					return 200, allow, time.Hour
				}
				return 200, allow, 0
			}
			k := consultant(a, func(c *Config) { c.Allow = allowed })
			for range 100 {
				k.Ask(publish("lobby", "ann", "hi"))
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			asked, decided := a.seen()
			if len(decided) != 100 || len(asked) < 7 || len(asked) > 14 || !k.Stats().Down {
				t.Errorf("asked %d times, decided %d", len(asked), len(decided))
			}
			for _, c := range decided {
				if (c.Refusal == nil) != allowed {
					t.Errorf("decided with %+v", c.Refusal)
				}
			}
			answers.Store(true)
			k.Ask(publish("lobby", "ann", "hi"))
			time.Sleep(time.Second)
			if k.Stats().Down {
				t.Error("it is down though it answers")
			}
			k.Close()
		})
	}
}

// TestEnded: sessions that end together are told together, and a bound holds.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{answer: func(string) (int, string, time.Duration) { return 200, "", time.Second }}
		k := consultant(a, nil)
		k.Ended(handoff.Ended{User: "first"})
		synctest.Wait()
		for range maxEnded + 50 {
			k.Ended(handoff.Ended{User: "ann", Code: 4000})
		}
		time.Sleep(time.Hour)
		k.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		told := 0
		for _, sessions := range a.ended {
			told += len(sessions)
		}
		if told != maxEnded+1 || len(a.ended) != 1+maxEnded/endedTogether || k.Stats().EndedDropped != 50 {
			t.Errorf("told of %d sessions with %d requests, dropped %d", told, len(a.ended), k.Stats().EndedDropped)
		}
	})
}

// TestReason: what is shown to a client is a sentence, whatever the application says.
func TestReason(t *testing.T) {
	const general = "The application of this server does not allow it."
	for said, want := range map[string]string{
		"No.": "No.", "": general, "two\nlines": general, "\xff": general, string(make([]byte, 300)): general,
	} {
		if got := reason(said); got != want {
			t.Errorf("%q is shown as %q", said, got)
		}
	}
}

// TestClaims: only claims that are there take the place of those of the token. Null is what encoders write for what is not there, and must
// not open every room.
func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var body atomic.Pointer[string]
		a := &app{answer: func(string) (int, string, time.Duration) { return 200, *body.Load(), 0 }}
		rights := &identity.Rights{Join: []string{"a"}}
		k := consultant(a, func(c *Config) {
			c.Rights = func(string, json.RawMessage) (*identity.Rights, error) { return rights, nil }
		})
		for said, want := range map[string]bool{
			`{"allow":true}`: false, `{"allow":true,"claims":null,"reason":null,"message":null}`: false, `{"allow":true,"claims":{"rooms":["a"]}}`: true,
		} {
			body.Store(&said)
			if refusal := k.Connect(handoff.Connect{User: "ann"}); refusal != nil {
				t.Fatal(refusal)
			}
			synctest.Wait()
			events := k.cfg.Loops[0].Take(nil)
			if len(events) != 1 || events[0].Code.Code != 0 || (events[0].Grant != nil) != want {
				t.Errorf("%s was told as %+v", said, events)
			}
		}
		k.Close()
	})
}

// TestUnusable: answers that can't be used count for the questions that they were given to, and do not stop the asking.
func TestUnusable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := fmt.Sprintf(`{"allow":true,"message":{"text":%q}}`, strings.Repeat("x", 2<<10))
		a := &app{answer: func(text string) (int, string, time.Duration) {
			if text == "grows" {
				return 200, long, 0
			}
			return 200, allow, 0
		}}
		var lines strings.Builder
		k := consultant(a, func(c *Config) { c.Concurrency, c.Logger = 1, slog.New(slog.NewTextHandler(&lines, nil)) })
		for range 10 * patience {
			k.Ask(publish("lobby", "mallory", "grows"))
		}
		k.Ask(publish("lobby", "ann", "hi"))
		synctest.Wait()
		down := k.Stats().Down
		k.Close()
		asked, decided := a.seen()
		if len(asked) != 10*patience+1 || down {
			t.Errorf("asked %d times, down: %v", len(asked), down)
		}
		for _, c := range decided {
			if (c.Refusal == nil) != (c.User == "ann") {
				t.Errorf("of %s decided with %+v", c.User, c.Refusal)
			}
		}
		if n := strings.Count(lines.String(), "\n"); n != 1 || strings.Contains(lines.String(), "xxx") {
			t.Errorf("%d lines in the log:\n%s", n, lines.String())
		}
	})
}

// TestEachSecondQuestionFails: the log has a line a second about that, not one for each.
func TestEachSecondQuestionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		a := &app{answer: func(string) (int, string, time.Duration) {
			n++
			if n%2 == 1 {
				return 500, "", 10 * time.Millisecond
			}
			return 200, allow, 10 * time.Millisecond
		}}
		var lines strings.Builder
		k := consultant(a, func(c *Config) { c.Concurrency, c.Logger = 1, slog.New(slog.NewTextHandler(&lines, nil)) })
		for range 150 {
			k.Ask(publish("lobby", "ann", "hi"))
		}
		time.Sleep(2 * time.Second)
		k.Close()
		if count := strings.Count(lines.String(), "was not answered"); count != 2 || n != 150 {
			t.Errorf("%d questions in a second and a half, each second one in vain, had %d lines:\n%s", n, count, lines.String())
		}
	})
}
