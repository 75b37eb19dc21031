package process

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

// TestMembershipOfAKilledServer kills the server again and again while an application is told of members, or is not there to be told: in
// the end it was told of everybody, and of nobody before those who came before them.
func TestMembershipOfAKilledServer(t *testing.T) {
	t.Parallel()
	const rounds, each = 5, 40
	var mu sync.Mutex
	answers := http.StatusServiceUnavailable
	told, wrong := 0, 0 // users in a row, and what came too early
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct{ Data struct{ Action, User string } }
		err := json.NewDecoder(r.Body).Decode(&call)
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(answers)
		if answers != http.StatusOK || call.Data.Action == "create" {
			return
		}
		n := 0
		if _, scanned := fmt.Sscanf(call.Data.User, "user%d", &n); err != nil || scanned != nil || n > told {
			wrong++
		} else {
			told = max(told, n+1)
		}
	}))
	defer app.Close()
	l := launch{data: t.TempDir(), flags: []string{
		"--webhooks.url", app.URL, "--webhooks.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--webhooks.events", "membership",
	}}
	users := 0
	for round := range rounds {
		s := start(t, l)
		p, err := login(s.address, rawTCP, "ann")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(request *v1.ClientFrame) {
			t.Helper()
			id, err := p.send(request)
			for err == nil {
				var f *v1.ServerFrame
				if f, err = p.next(); err == nil && f.Id == id {
					if f.GetError() != nil {
						t.Fatal(f.GetError())
					}
					return
				}
			}
			t.Fatal(err)
		}
		ask(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{Room: "group:a"}}})
		mu.Lock()
		answers = []int{http.StatusServiceUnavailable, http.StatusOK}[round%2]
		mu.Unlock()
		for range each {
			ask(&v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{Room: "group:a", Action: "invite", User: fmt.Sprint("user", users)}}})
			users++
		}
		p.conn.Close()
		s.kill()
	}
	mu.Lock()
	answers = http.StatusOK
	mu.Unlock()
	s := start(t, l)
	eventually(t, "the application was told of everybody", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return told == users
	})
	mu.Lock()
	if wrong > 0 {
		t.Errorf("%d notices came too early or could not be read", wrong)
	}
	mu.Unlock()
	eventually(t, "nothing waits", func() bool { return s.metric(t, "rookery_webhook_notices_waiting", "") == 0 })
}
