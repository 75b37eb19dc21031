package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// The rules of RFC 6455 one by one against a running gateway, over a socket, in the
// manner of the Autobahn suite. A case is what a client sends and what must come back.
// Each is sent in one write, byte by byte, and in two pieces, cut at the places that cuts
// names; what comes back must be the same.
//
// The client's side, conformance_client_test.go, is written without the gateway's own
// framing, so that a mistake in that can't hide itself.

// messageLimit is what startEcho sets as the longest message, headerLimit as the longest
// head of a request.
const (
	messageLimit = 64 << 10
	headerLimit  = 8 << 10
)

// startEcho runs a gateway until the test ends. Its path /echo, of development mode, sends
// every text and binary message back.
func startEcho(t *testing.T, options ...func(*gateway.Config)) (addr string) {
	t.Helper()
	srv := gatewaytest.Start(t, append(options, func(cfg *gateway.Config) {
		cfg.Limits.MessageBytes = messageLimit
		cfg.Limits.HeaderBytes = headerLimit
	})...)
	secureAddrs.Store(srv.Addr(), srv.SecureAddr())
	return srv.Addr()
}

type conformanceCase struct {
	name string // begins with the clause
	send []byte
	want []frame // what comes back, before the end
	end  ending
}

// ending is what becomes of the connection. Its zero value: it stays open, and nothing is
// half sent, so that the next case can follow.
type ending struct {
	codes  []uint16 // accepted in the server's Close; 1005 is a Close without a body
	byPeer bool     // the server answers our Close, so it is the one to close the socket
	late   bool     // bytes follow our Close: the server's kernel may answer them by a reset
}

var staysOpen = ending{}

// fails: the server ends the connection, RFC 6455 7.1.7.
func fails(code uint16) ending { return ending{codes: []uint16{code}} }

// answers: the case holds a Close, and the server answers it.
func answers(codes ...uint16) ending { return ending{codes: codes, byPeer: true} }

// ignoresRest: as answers, but bytes follow the Close.
func ignoresRest(code uint16) ending {
	return ending{codes: []uint16{code}, byPeer: true, late: true}
}

// eachEcho runs a test over TCP, and over TLS where a piece of a client's is a record, beside others.
func eachEcho(t *testing.T, f func(t *testing.T, addr string)) {
	t.Parallel()
	secure, _ := gatewaytest.Secure(t)
	plain := startEcho(t, secure)
	for name, addr := range map[string]string{"tcp": plain, "tls": "tls:" + addressWithTLS(plain)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, addr)
		})
	}
}

func TestConformance(t *testing.T) { eachEcho(t, testConformance) }

func testConformance(t *testing.T, addr string) {
	groups := []struct {
		name  string
		cases []conformanceCase
	}{
		{"messages", messageCases()},
		{"fragments", fragmentCases()},
		{"control frames", controlCases()},
		{"reserved", reservedCases()},
		{"masks and lengths", headerCases()},
		{"limits", limitCases()},
		{"text", textCases()},
		{"close", closeCases()},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for i, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, addr, i) })
			}
		})
	}
}

func (c conformanceCase) run(t *testing.T, addr string, nth int) {
	t.Run("in one write", func(t *testing.T) {
		client := dialEcho(t, addr)
		client.write(c.send)
		c.check(client)
	})
	if len(c.send) <= 2000 {
		t.Run("byte by byte", func(t *testing.T) {
			client := dialEcho(t, addr)
			for i := range c.send {
				client.write(c.send[i : i+1])
			}
			c.check(client)
		})
	}
	t.Run("in two pieces", func(t *testing.T) {
		var client *client
		for _, cut := range cutsFor(addr, len(c.send), nth) {
			if client == nil {
				client = dialEcho(t, addr)
			}
			client.where = fmt.Sprintf("cut at %d: ", cut)
			client.writeAndSync(c.send[:cut])
			client.write(c.send[cut:])
			c.check(client)
			if len(c.end.codes) > 0 {
				client = nil
			}
		}
	})
}

// cutsFor is cuts, and over TLS each ninth of them: a handshake for each is what takes the time, and behind the records the
// gateway is the same.
func cutsFor(addr string, size, nth int) (at []int) {
	all := cuts(size, nth)
	if !strings.HasPrefix(addr, "tls:") {
		return all
	}
	for i := nth % max(1, min(9, len(all))); i < len(all); i += 9 {
		at = append(at, all[i])
	}
	return at
}

// cuts is where the nth case of a list is cut: a short one everywhere. A longer one at all of what may be its first header, at its end,
// and between in steps that are in step with neither the mask nor the buffers. The next case begins them one byte later, so that
// long ones which differ in little are cut at other places.
func cuts(size, nth int) (at []int) {
	step := max(7, size/31)
	for cut := 1; cut < size; cut++ {
		if size <= 40 || cut <= 16 || cut >= size-3 || cut%step == nth%step {
			at = append(at, cut)
		}
	}
	return at
}

func (c conformanceCase) check(client *client) {
	client.t.Helper()
	for i, want := range c.want {
		if got := client.read(); got != want {
			client.t.Fatalf("%sframe %d is %v, want %v", client.where, i, got, want)
		}
	}
	if len(c.end.codes) == 0 {
		client.sync()
		return
	}
	code := client.readClose()
	if !slices.Contains(c.end.codes, code) {
		client.t.Fatalf("%sClose %d, want %v", client.where, code, c.end.codes)
	}
	if !c.end.byPeer {
		// Our half of the closing handshake. The stream may be out of step for the
		// server, so its end says the same once more.
		client.write(sent(fin|opClose, string(closeBody(code, ""))))
		client.closeWrite()
	}
	client.readEnd(c.end.late)
}

// RFC 6455 7.1.1 and 7.1.7: the server closes the TCP connection also when the peer does
// not answer its Close; a peer that owes an answer must not hold a connection for ever.
func TestConformanceSilentPeerIsClosed(t *testing.T) { eachEcho(t, testConformanceSilentPeerIsClosed) }

func testConformanceSilentPeerIsClosed(t *testing.T, addr string) {
	client := dialEcho(t, addr)
	client.write([]byte{fin | opText, 1, 'a'}) // not masked
	if code := client.readClose(); code != 1002 {
		t.Fatalf("Close %d, want 1002", code)
	}
	client.readEnd(false)
}

// A client that goes without a word must leave the server to the others.
func TestConformancePeerThatVanishes(t *testing.T) { eachEcho(t, testConformancePeerThatVanishes) }

func testConformancePeerThatVanishes(t *testing.T, addr string) {
	for _, half := range [][]byte{
		nil,
		{fin | opText},
		sent(opText, "half a message"),
		sent(fin|opText, "never read"),
		sent(fin|opText, "cut")[:7],
	} {
		client := dialEcho(t, addr)
		client.write(half)
		if err := client.tcp.SetLinger(0); err != nil { // leave by a reset
			t.Fatal(err)
		}
		if err := client.tcp.Close(); err != nil {
			t.Fatal(err)
		}
	}
	client := dialEcho(t, addr)
	client.write(sent(fin|opText, "still here"))
	if got := client.read(); got != echoed(opText, "still here") {
		t.Errorf("frame %v", got)
	}
}
