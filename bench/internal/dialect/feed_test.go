package dialect

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rookery/bench/plan"
)

// heard is an Event that stays.
type heard struct {
	Kind         Kind
	ID           uint32
	Room         int
	Seq, Last    uint64
	Body, Reason string
	Out          string
	Ephemeral    bool
}

// feed gives a new session what a server sends, a piece at a time, and what the dialect makes of it; what fails is the
// text of the error, and the last.
func feed(d Dialect, s *Session, pieces ...[]byte) (all []heard, failure string) {
	var e Event
	var in []byte
	for _, piece := range pieces {
		in = append(in, piece...)
		for {
			n, err := d.Read(s, in, &e)
			if e.Kind != None || len(e.Out) > 0 {
				all = append(all, heard{e.Kind, e.ID, e.Room, e.Seq, e.Last, string(e.Body), e.Reason, string(e.Out), e.Ephemeral})
			}
			if err != nil {
				return all, err.Error()
			}
			if n == 0 && e.Kind == None && len(e.Out) == 0 {
				break
			}
			// What is done with may be written over at once.
			rest := slices.Clone(in[n:])
			clear(in)
			in = rest
		}
	}
	return all, ""
}

// feedCut feeds a stream whole, in two pieces for every cut, and byte by byte. All have to give the same.
func feedCut(t *testing.T, c Config, target string, stream []byte) (all []heard, failure string) {
	t.Helper()
	fresh := func() (Dialect, *Session) {
		d, s := open(t, c, target)
		return d, s
	}
	d, s := fresh()
	all, failure = feed(d, s, stream)
	check := func(how string, pieces ...[]byte) {
		t.Helper()
		d, s := fresh()
		got, gotFailure := feed(d, s, pieces...)
		if gotFailure != failure {
			t.Fatalf("%s the end is %q, want %q", how, gotFailure, failure)
		}
		if !slices.Equal(got, all) {
			t.Fatalf("%s\n got %+v\nwant %+v", how, got, all)
		}
	}
	for cut := range len(stream) {
		check(fmt.Sprintf("cut at byte %d of %d", cut, len(stream)), stream[:cut], stream[cut:])
	}
	var bytewise [][]byte
	for i := range stream {
		bytewise = append(bytewise, stream[i:i+1])
	}
	check("byte by byte", bytewise...)
	return all, failure
}

// open gives a dialect and a session of user 7 that has sent what a connection sends first.
func open(t testing.TB, c Config, target string) (Dialect, *Session) {
	t.Helper()
	parsed, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(c, parsed)
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{User: 7}
	d.AppendOpen(nil, s)
	return d, s
}

// accepted is the answer to the handshake of user 7.
func accepted(subprotocol string) []byte {
	sum := sha1.Sum([]byte(string(appendKey(nil, &Session{User: 7})) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if subprotocol != "" {
		head += "sec-websocket-protocol: " + subprotocol + "\r\n"
	}
	return []byte(head + "\r\n")
}

// serverFrame is a frame as servers send them.
func serverFrame(op ws.OpCode, fin bool, payload []byte) []byte {
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.NewFrame(op, fin, payload)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func serverText(payload string) []byte { return serverFrame(ws.OpText, true, []byte(payload)) }

// fragments is a message in frames of at most size bytes, with a ping between them and an empty last frame.
func fragments(op ws.OpCode, payload []byte, size int) []byte {
	var stream []byte
	for part := range slices.Chunk(payload, size) {
		stream = append(stream, serverFrame(op, false, part)...)
		stream = append(stream, serverFrame(ws.OpPing, true, nil)...)
		op = ws.OpContinuation
	}
	return append(stream, serverFrame(ws.OpContinuation, true, nil)...)
}

// sent gives the messages in what a client sent, each with its opcode in front, as "text {}".
func sent(t testing.TB, out []byte) []string {
	t.Helper()
	var all []string
	for in := bytes.NewReader(out); in.Len() > 0; {
		h, err := ws.ReadHeader(in)
		if err != nil || !h.Masked || !h.Fin || h.Length > int64(in.Len()) {
			t.Fatalf("%q: a frame of a client is %+v, %v; want it whole, final and masked", out, h, err)
		}
		payload := make([]byte, h.Length)
		in.Read(payload)
		ws.Cipher(payload, h.Mask, 0)
		name := map[ws.OpCode]string{ws.OpText: "text", ws.OpBinary: "binary", ws.OpPing: "ping", ws.OpPong: "pong", ws.OpClose: "close"}
		all = append(all, name[h.OpCode]+" "+string(payload))
	}
	return all
}

// withoutOut drops what is only to be sent.
func withoutOut(all []heard) []heard {
	var rest []heard
	for _, h := range all {
		if h.Out = ""; h.Kind != None {
			rest = append(rest, h)
		}
	}
	return rest
}

func config(dialect string) Config {
	return Config{Server: plan.Server{Dialect: dialect}, Prefix: "p"}
}

func wantHeard(t *testing.T, got, want []heard) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", lines(got), lines(want))
	}
}

func lines(all []heard) string {
	var text []string
	for _, h := range all {
		text = append(text, fmt.Sprintf("%+v", h))
	}
	return strings.Join(text, "\n\t")
}

// wantNoAllocation reads a frame again and again.
func wantNoAllocation(t *testing.T, d Dialect, s *Session, stream []byte, kind Kind) {
	t.Helper()
	var e Event
	got := testing.AllocsPerRun(100, func() {
		found := None
		for in := stream; len(in) > 0; {
			n, err := d.Read(s, in, &e)
			if err != nil || n == 0 {
				t.Fatalf("read %d bytes, %v", n, err)
			}
			in = in[n:]
			found = max(found, e.Kind)
		}
		if found != kind {
			t.Fatalf("read an event %d, want %d", found, kind)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations to read an event %d, want none", got, kind)
	}
}

// ready gives a session whose login is done.
func ready(t *testing.T, c Config, target string, stream []byte) (Dialect, *Session) {
	t.Helper()
	d, s := open(t, c, target)
	all, failure := feed(d, s, stream)
	if failure != "" || len(all) == 0 || all[len(all)-1].Kind != Ready {
		t.Fatalf("the login gives %+v, %s", all, failure)
	}
	return d, s
}

func bigEndian(n uint64, size int) []byte { return binary.BigEndian.AppendUint64(nil, n)[8-size:] }
