package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

// TestShippedCopyOfAKilledServer loses the machine: a server that ships is killed under load, its data are gone, and
// another server serves what was shipped. It has every message that was acknowledged when the copy was last whole, and
// the clients are told that the epoch is another.
func TestShippedCopyOfAKilledServer(t *testing.T) {
	t.Parallel()
	data, mount := filepath.Join(t.TempDir(), "data"), t.TempDir()
	s := start(t, launch{data: data, flags: []string{"--ship.to", mount, "--ship.every", "200ms"}})
	// enter gives a connection that publishes, and what another one, which has left, was told when it joined.
	enter := func(s *server, after *uint64, epoch string) (*peer, *v1.Joined) {
		t.Helper()
		var peers [2]*peer
		for i := range peers {
			p, err := login(s.address, rawTCP, "alice")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.conn.Close() })
			peers[i] = p
		}
		reply, err := peers[1].ask(joinRequest("room", after, epoch))
		if err != nil {
			t.Fatal(err)
		}
		peers[1].conn.Close()
		return peers[0], reply.GetJoined()
	}
	p, before := enter(s, nil, "")
	acknowledged := uint64(0)
	publish := func(n int) {
		for range n {
			acknowledged++
			if _, err := p.ask(publishRequest("room", "", fmt.Sprint("message ", acknowledged))); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(200)
	eventually(t, "the copy is whole", func() bool { return s.metric(t, "rookery_ship_lag_seconds", "") == 0 })
	shipped := acknowledged
	publish(50)
	s.kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}

	out, err := exec.Command(plainBinary, "restore", "--from", mount, "--to", data).CombinedOutput()
	if err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	again := start(t, launch{data: data, flags: []string{"--ship.to", mount, "--ship.every", "200ms"}})
	q, joined := enter(again, &acknowledged, before.GetEpoch())
	if joined.GetEpoch() == before.GetEpoch() || joined.GetRecovered() || joined.GetHead() < shipped {
		t.Errorf("a client that comes back with epoch %s is told %v, want another epoch and a head of at least %d", before.GetEpoch(), joined, shipped)
	}
	next := uint64(0)
	if err := q.history("room", 0, func(m *v1.Message) {
		next++
		if m.GetSeq() != next || m.GetText() != fmt.Sprint("message ", next) {
			t.Errorf("message %d is %v", next, m)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if next < shipped || next > acknowledged {
		t.Errorf("%d messages were restored, %d had been shipped and %d acknowledged", next, shipped, acknowledged)
	}

	// The new server goes on shipping to the same place.
	if _, err := q.ask(publishRequest("room", "", "after all")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is whole again", func() bool { return again.metric(t, "rookery_ship_lag_seconds", "") == 0 })
	if refused := again.metric(t, "rookery_ship_refused", ""); refused != 0 {
		t.Errorf("rookery_ship_refused is %v", refused)
	}
}
