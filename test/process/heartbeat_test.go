package process

import (
	"net"
	"slices"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// slack is how much later than a limit a loaded machine may find that it is over.
const slack = 3 * time.Second

// TestHeartbeat: a silent peer is asked for a sign of life. One that gives it stays, one that
// does not is closed.
func TestHeartbeat(t *testing.T) {
	const heartbeat = time.Second // a busy machine may hold up the answer for some of it
	s := start(t, launch{data: t.TempDir(), flags: []string{"--heartbeat", heartbeat.String()}})
	t.Cleanup(func() { // behind all of them
		asked, answered := s.metric(t, "rookery_probes_total", ""), s.metric(t, "rookery_probes_answered_total", "")
		if silent := float64(len(transports)); answered < 3*silent || asked < answered+silent {
			t.Errorf("%v were asked and %v answered; of each kind one never does, and one at least three times", asked, answered)
		}
	})
	for _, by := range transports {
		t.Run("silent over "+string(by), func(t *testing.T) {
			t.Parallel()
			p, err := login(s.address, by, "silent")
			if err != nil {
				t.Fatal(err)
			}
			defer p.conn.Close()
			p.heedful = false
			code, after, err := p.ended()
			if err != nil || code != proto.CloseHeartbeatTimeout.Code {
				t.Fatalf("it ended with code %d, %v; want %d", code, err, proto.CloseHeartbeatTimeout.Code)
			}
			// A server that is late itself waits up to ten times as long for the answer.
			if p.pings == 0 || after < heartbeat || after > 11*heartbeat+slack {
				t.Errorf("it was asked %d times and closed after %v", p.pings, after)
			}
		})
		t.Run("answering over "+string(by), func(t *testing.T) {
			t.Parallel()
			p, err := login(s.address, by, "answering")
			if err != nil {
				t.Fatal(err)
			}
			defer p.conn.Close()
			p.limit = slack
			for asked := 0; asked < 4; asked++ {
				before := p.pings
				for p.pings == before {
					if by == webSocket {
						// The pong is sent in here.
						p.conn.SetReadDeadline(time.Now().Add(slack))
						err = p.fill()
					} else {
						_, err = p.next()
					}
					if err != nil {
						t.Fatalf("asked %d times, it ended with %v", asked, err)
					}
				}
				if by == rawTCP {
					if _, err := p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// TestSlowPeersAreClosedInTime: whoever holds a connection and gives a byte now and then, or
// nothing, loses it when the time of that step is over, not later because of the bytes.
func TestSlowPeersAreClosedInTime(t *testing.T) {
	const (
		limit = 700 * time.Millisecond
		pace  = 100 * time.Millisecond
	)
	s := start(t, launch{data: t.TempDir(), flags: []string{
		"--limits.handshake-timeout", limit.String(), "--limits.frame-timeout", limit.String(),
	}})
	long := publishRequest("r", "", string(slices.Repeat([]byte("x"), 1000)))
	long.Id = 1
	frame := proto.AppendClientFrame(nil, proto.Binary, long)
	// A masked binary message of 1,000 bytes; what the mask makes of them doesn't matter.
	message := append([]byte{0x82, 0x80 | 126, 0x03, 0xe8, 1, 2, 3, 4}, make([]byte, 1000)...)

	for _, c := range []struct {
		name  string
		open  func() (*peer, error)
		bytes []byte // sent one at a time; none: silence
		code  uint16 // 0: ended without a word, since no framing was agreed
	}{
		{"nothing at all", func() (*peer, error) { return dialSilently(s.address) }, nil, 0},
		{"preface", func() (*peer, error) { return dialSilently(s.address) }, []byte("ROOKERY"), 0},
		{"HTTP head", func() (*peer, error) { return dialSilently(s.address) }, []byte(handshake(s.address)), 0},
		{"TCP without connect", func() (*peer, error) { return dial(s.address, rawTCP, 0) }, nil, proto.CloseConnectTimeout.Code},
		{"WebSocket without connect", func() (*peer, error) { return dial(s.address, webSocket, 0) }, nil, proto.CloseConnectTimeout.Code},
		{"TCP frame", func() (*peer, error) { return login(s.address, rawTCP, "slow") }, frame, proto.CloseFrameTimeout.Code},
		{"WebSocket frame", func() (*peer, error) { return login(s.address, webSocket, "slow") }, message, proto.CloseFrameTimeout.Code},
		{"WebSocket header", func() (*peer, error) { return login(s.address, webSocket, "slow") }, message[:1], proto.CloseFrameTimeout.Code},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			defer p.conn.Close()
			stop, dripped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(dripped)
				drip(p.conn, c.bytes, pace, stop)
			}()
			defer func() { <-dripped }()
			defer close(stop)
			code, after, err := p.ended()
			if err != nil || code != c.code {
				t.Fatalf("it ended with code %d, %v; want %d", code, err, c.code)
			}
			if after < limit-2*pace || after > limit+slack {
				t.Errorf("it was closed after %v, the limit is %v", after, limit)
			}
		})
	}
}

// dialSilently opens a connection that nothing is said on.
func dialSilently(address string) (*peer, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return newPeer(conn, rawTCP), nil
}

// drip writes a byte at each beat until there is none left, the peer has gone, or stop.
func drip(conn net.Conn, bytes []byte, pace time.Duration, stop <-chan struct{}) {
	beat := time.NewTicker(pace)
	defer beat.Stop()
	for i := range bytes {
		if _, err := conn.Write(bytes[i : i+1]); err != nil {
			return
		}
		select {
		case <-beat.C:
		case <-stop:
			return
		}
	}
}
