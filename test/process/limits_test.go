package process

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/proto"
)

// outcome is what came of trying to get in.
type outcome struct {
	peer *peer // nil: not in
	err  error
}

// told reports whether a client that is not in was told why and when to come back, as its
// transport has it.
func (o outcome) told() bool {
	var refused *refusedError
	var closed *closeError
	switch {
	case errors.As(o.err, &refused):
		return refused.status == http.StatusServiceUnavailable && refused.retryAfter != ""
	case errors.As(o.err, &closed):
		return closed.code == proto.CloseOverloaded.Code
	}
	return false
}

// tryToEnter logs in and joins the room.
func tryToEnter(s *server, by transport, user, room string) outcome {
	p, err := login(s.address, by, user)
	if err != nil {
		return outcome{err: err}
	}
	if err := p.enter(room); err != nil {
		p.conn.Close()
		return outcome{err: err}
	}
	return outcome{peer: p}
}

// TestMoreClientsThanDescriptors: whoever is not served is told so, and nothing else of the server lacks a descriptor.
func TestMoreClientsThanDescriptors(t *testing.T) {
	t.Parallel()
	const (
		descriptors = 256
		clients     = 400
		leaving     = 50
		room        = "crowded"
	)
	s := start(t, launch{data: t.TempDir(), shell: fmt.Sprintf("ulimit -n %d", descriptors)})
	stopWatching := s.watchDescriptors()
	capacity := int(s.metric(t, "rookery_connections_capacity", ""))

	// All at once. Who is beyond the reserve for refusals is cut off without a word.
	outcomes := make([]outcome, clients)
	var trying sync.WaitGroup
	for i := range outcomes {
		trying.Go(func() { outcomes[i] = tryToEnter(s, transports[i%2], fmt.Sprintf("user-%d", i), room) })
	}
	trying.Wait()
	var in []*peer
	told := 0
	for _, o := range outcomes {
		switch {
		case o.peer != nil:
			in = append(in, o.peer)
		case o.told():
			told++
		}
	}
	t.Logf("of %d clients %d are in, %d were told to come back, %d were cut off", clients, len(in), told, clients-len(in)-told)
	defer func() {
		for _, p := range in {
			p.conn.Close()
		}
	}()
	if len(in) != capacity || told == 0 {
		t.Fatalf("%d are in and %d were told why not; want %d and more than 0", len(in), told, capacity)
	}
	mustServe(t, in, room, "to the crowd")

	// One at a time everyone is told, over either transport.
	for i := range 20 {
		o := tryToEnter(s, transports[i%2], "late", room)
		if !o.told() {
			t.Fatalf("with %d connections another one over %s got in or ended with: %v", len(in), transports[i%2], o.err)
		}
	}
	if status, body, err := s.get("/readyz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "full") {
		t.Errorf("readyz of a full server: %d %q %v", status, body, err)
	}

	// Those who say nothing hold a descriptor until the handshake's time is over.
	var silent []net.Conn
	for range clients {
		if conn, err := net.DialTimeout("tcp", s.address, patience); err == nil {
			silent = append(silent, conn)
		}
	}
	mustServe(t, in, room, "through a crowd of silent ones")
	for _, conn := range silent {
		conn.Close()
	}

	for _, p := range in[:leaving] {
		p.conn.Close()
	}
	in = in[leaving:]
	eventually(t, "the places of those who left are free", func() bool {
		return int(s.metric(t, "rookery_connections", "")) == len(in)
	})
	for i := range leaving {
		o := tryToEnter(s, transports[i%2], fmt.Sprintf("new-%d", i), room)
		if o.peer == nil {
			t.Fatalf("%d left, and number %d of those who come ended with: %v", leaving, i, o.err)
		}
		in = append(in, o.peer)
	}
	if o := tryToEnter(s, webSocket, "late", room); !o.told() {
		t.Errorf("full again, one more got in or ended with: %v", o.err)
	}
	mustServe(t, in, room, "to the new crowd")

	if most := stopWatching(); most >= descriptors {
		t.Errorf("the server had %d descriptors open of %d", most, descriptors)
	} else {
		t.Logf("the server had at most %d descriptors open of %d", most, descriptors)
	}
	if status, _, err := s.get("/healthz"); err != nil || status != http.StatusOK || !s.alive() {
		t.Errorf("healthz: %d %v, alive %v", status, err, s.alive())
	}
}

// TestAcceptFailsForAWhile: as on a machine whose table of files is full. Who is there notices nothing, who comes waits, and neither listener
// ends.
func TestAcceptFailsForAWhile(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir()})
	before := tryToEnter(s, rawTCP, "before", "r")
	if before.err != nil {
		t.Fatal(before.err)
	}
	defer before.peer.conn.Close()
	var usual unix.Rlimit
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, nil, &usual); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	// None is free under it, and those that are open stay.
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: usual.Max}, nil); err != nil {
		t.Fatal(err)
	}
	const newcomers = 8 // some on each loop
	arrived := make(chan outcome, newcomers)
	for i := range newcomers {
		go func() { arrived <- tryToEnter(s, transports[i%2], fmt.Sprintf("newcomer-%d", i), "r") }()
	}
	eventually(t, "accepting fails", func() bool { return !s.alive() || strings.Contains(s.log(), "Accept() failed") })
	for i := range 3 {
		mustServe(t, []*peer{before.peer}, "r", fmt.Sprintf("meanwhile %d", i))
	}
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, &usual, nil); err != nil {
		t.Fatal(err)
	}
	for range newcomers {
		o := <-arrived
		if o.err != nil {
			t.Fatalf("who came meanwhile ended with: %v", o.err)
		}
		defer o.peer.conn.Close()
	}
	if status, _, err := s.get("/healthz"); err != nil || status != http.StatusOK || !s.alive() {
		t.Errorf("healthz: %d %v, alive %v", status, err, s.alive())
	}
	if n := s.metric(t, "rookery_accept_failures_total", "process_files"); n == 0 {
		t.Error("no accept that failed is counted")
	}
	if lines, seconds := strings.Count(s.log(), "Accept() failed"), int(time.Since(begun).Seconds()); lines > seconds+1 {
		t.Errorf("%d lines in %d seconds say that accepting fails", lines, seconds)
	}
}

// TestAdminConnectionsLeaveTheDescriptors: a monitoring that leaks connections must not take
// the descriptors that the public port counts on.
func TestAdminConnectionsLeaveTheDescriptors(t *testing.T) {
	t.Parallel()
	const descriptors = 256
	s := start(t, launch{data: t.TempDir(), shell: fmt.Sprintf("ulimit -n %d", descriptors)})
	stopWatching := s.watchDescriptors()
	for range descriptors {
		conn, err := net.DialTimeout("tcp", s.admin, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for i := range 8 {
		o := tryToEnter(s, transports[i%2], fmt.Sprintf("user-%d", i), "r")
		if o.peer == nil {
			t.Fatalf("beside %d connections to the admin listener a client ended with: %v", descriptors, o.err)
		}
		defer o.peer.conn.Close()
	}
	if most := stopWatching(); most >= descriptors || !s.alive() {
		t.Errorf("the server had %d descriptors open of %d, alive %v", most, descriptors, s.alive())
	}
}

// TestManyLoopsLeaveTheDescriptors: each event loop needs descriptors of its own, and a log of
// many segments must not need more.
func TestManyLoopsLeaveTheDescriptors(t *testing.T) {
	t.Parallel()
	const descriptors = 500
	s := start(t, launch{
		data: t.TempDir(), shell: fmt.Sprintf("ulimit -n %d", descriptors),
		flags: []string{"--loops", "16", "--log.segment-bytes", "2MiB", "--log.sync", "never"},
	})
	stopWatching := s.watchDescriptors()
	writer := tryToEnter(s, rawTCP, "writer", "r")
	if writer.peer == nil {
		t.Fatal(writer.err)
	}
	defer writer.peer.conn.Close()
	capacity := int(s.metric(t, "rookery_connections_capacity", ""))
	for range capacity + 100 {
		conn, err := net.DialTimeout("tcp", s.address, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	text := strings.Repeat("x", 60<<10)
	for i := range 1400 { // some 80 MiB, 40 segments
		if _, err := writer.peer.send(publishRequest("r", "", text)); err != nil {
			t.Fatal(err)
		}
		for replied, seen := false, false; !replied || !seen; {
			f, err := writer.peer.next()
			if err != nil || f.GetError() != nil {
				t.Fatalf("publish %d: %v, %v", i, f.GetError(), err)
			}
			replied = replied || f.GetPublished() != nil
			seen = seen || f.GetMessage() != nil
		}
	}
	if segments := s.metric(t, "rookery_log_segments", ""); segments < 35 {
		t.Fatalf("the log has %v segments: too few to show anything", segments)
	}
	if most := stopWatching(); most >= descriptors || !s.alive() {
		t.Errorf("the server had %d descriptors open of %d, alive %v", most, descriptors, s.alive())
	} else {
		t.Logf("the server had at most %d descriptors open of %d, with room for %d connections", most, descriptors, capacity)
	}
}

// mustServe has the first peer publish and every one of them receive it.
func mustServe(t *testing.T, peers []*peer, room, text string) {
	t.Helper()
	if _, err := peers[0].send(publishRequest(room, "", text)); err != nil {
		t.Fatalf("publish: %v", err)
	}
	for i, p := range peers {
		for {
			f, err := p.next()
			if err != nil {
				t.Fatalf("peer %d of %d waits for %q: %v", i, len(peers), text, err)
			}
			if f.GetError() != nil {
				t.Fatalf("peer %d of %d was told %v", i, len(peers), f.GetError())
			}
			if f.GetMessage().GetText() == text {
				break
			}
		}
	}
}

func TestTooFewDescriptorsAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, shell string
		flags       []string
		want        []string
	}{
		{"for the setting", "ulimit -n 256", []string{"--limits.connections", "1000"}, []string{"limits.connections is 1000", "256 descriptors", "ulimit -n"}},
		{"for any connection", "ulimit -n 100", nil, []string{"100 descriptors", "ulimit -n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := launch{data: t.TempDir(), shell: c.shell, flags: c.flags, binary: plainBinary}.start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.finish(t) })
			select {
			case <-s.ready:
				t.Fatal("it serves")
			case <-s.ended:
			case <-time.After(patience):
				t.Fatal("it neither serves nor ends")
			}
			if s.cmd.ProcessState.ExitCode() <= 0 {
				t.Errorf("it ended with %v, want a status that is not 0", s.cmd.ProcessState)
			}
			for _, want := range c.want {
				if !strings.Contains(s.log(), want) {
					t.Errorf("it says %q, which does not name %q", s.log(), want)
				}
			}
		})
	}
}
