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

// TestPushOfAKilledServer kills the server while summaries are due, gathered, queued and being sent, again and again: whoever was
// away is told of every message that was acknowledged, by the process that lives in the end if by no other.
func TestPushOfAKilledServer(t *testing.T) {
	t.Parallel()
	const users, rounds = 20, 4
	var mu sync.Mutex
	answers := http.StatusServiceUnavailable
	told := map[string]uint64{} // the newest message that each user was told of
	wrong := 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			Data struct {
				User  string
				Rooms []struct{ First, Last uint64 }
			}
		}
		err := json.NewDecoder(r.Body).Decode(&call)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || len(call.Data.Rooms) != 1 || call.Data.Rooms[0].First > told[call.Data.User]+1 {
			wrong++
		} else if answers == http.StatusOK {
			told[call.Data.User] = max(told[call.Data.User], call.Data.Rooms[0].Last)
		}
		w.WriteHeader(answers)
	}))
	defer hook.Close()
	l := launch{data: t.TempDir(), flags: []string{
		"--push.webhook", hook.URL, "--push.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--push.after", "300ms", "--push.window", "0s",
	}}
	// ask waits for the reply among what the rooms say.
	ask := func(p *peer, request *v1.ClientFrame) *v1.ServerFrame {
		t.Helper()
		id, err := p.send(request)
		for err == nil {
			var f *v1.ServerFrame
			if f, err = p.next(); err == nil && f.Id == id {
				if f.GetError() != nil {
					t.Fatal(f.GetError())
				}
				return f
			}
		}
		t.Fatal(err)
		return nil
	}
	acknowledged := uint64(0)
	for round := range rounds {
		s := start(t, l)
		p, err := login(s.address, rawTCP, "ann")
		if err != nil {
			t.Fatal(err)
		}
		for user := range users {
			reply := ask(p, &v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: fmt.Sprint("user", user)}}})
			ask(p, joinRequest(reply.GetRoom().GetRoom(), nil, ""))
			for range 3 {
				ask(p, publishRequest(reply.GetRoom().GetRoom(), "", "hello"))
			}
		}
		p.conn.Close()
		acknowledged += 3
		mu.Lock()
		answers = []int{http.StatusServiceUnavailable, http.StatusOK}[round%2]
		mu.Unlock()
		if round%2 == 1 {
			eventually(t, "somebody was told", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(told) > 0
			})
		}
		s.kill()
	}
	s := start(t, l)
	eventually(t, "everybody was told of everything", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for user := range users {
			if told[fmt.Sprint("user", user)] != acknowledged {
				return false
			}
		}
		return true
	})
	if wrong > 0 {
		t.Errorf("%d summaries left something out or could not be read", wrong)
	}
	eventually(t, "nothing is queued", func() bool { return s.metric(t, "rookery_push_queued", "") == 0 })
}
