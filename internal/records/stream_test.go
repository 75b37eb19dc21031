package records_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"rookery/internal/certtest"
	"rookery/internal/records"
	"rookery/internal/records/recordstest"
)

// peers are a Stream and its client after their handshake. What the client writes is read raw from the socket.
type peers struct {
	t      *testing.T
	stream *records.Stream
	raw    net.Conn // the server's socket
	client *tls.Conn
	forger *recordstest.Forger // below the client
}

func connect(t *testing.T, change func(client *tls.Config)) *peers {
	t.Helper()
	issuer := certtest.NewIssuer(t)
	server := &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}}
	config := &tls.Config{RootCAs: issuer.Pool, ServerName: "localhost"}
	if change != nil {
		change(config)
	}
	here, there := pair(t)
	p := &peers{t: t, raw: here}
	p.forger, p.client = recordstest.New(t, there, config)
	// The first message leaves right behind the client's Finished, perhaps in one segment with it.
	written := make(chan error, 1)
	go func() {
		_, err := p.client.Write([]byte("first"))
		written <- err
	}()
	var err error
	if p.stream, err = records.Handshake(here, server); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := p.open(p.read()); string(got) != "first" {
		t.Fatalf("%q was opened behind the handshake", got)
	}
	return p
}

// pair gives both ends of a connection.
func pair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	there, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	for _, conn := range []net.Conn{here, there} {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return here, there
}

// read gives one whole record from the socket.
func (p *peers) read() []byte {
	p.t.Helper()
	head := make([]byte, 5)
	if _, err := io.ReadFull(p.raw, head); err != nil {
		p.t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(p.raw, body); err != nil {
		p.t.Fatal(err)
	}
	return append(head, body...)
}

func (p *peers) open(in []byte) []byte {
	p.t.Helper()
	got, err := p.stream.Open(nil, in)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// versions are those that the server speaks.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func TestStream(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
			for _, size := range []int{1, 100, 16 << 10} {
				sent := make([]byte, size)
				for i := range sent {
					sent[i] = byte(rand.Int())
				}
				if _, err := p.client.Write(sent); err != nil {
					t.Fatal(err)
				}
				var got []byte
				for len(got) < size {
					got = append(got, p.open(p.read())...)
				}
				if !bytes.Equal(got, sent) {
					t.Fatalf("%d bytes were opened as others", size)
				}
			}
			for _, size := range []int{1, 100, 16 << 10, 100 << 10} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				sealed, err := p.stream.Seal([]byte("before"), sent)
				if err != nil || string(sealed[:6]) != "before" {
					t.Fatalf("sealed %.10q, %v", sealed, err)
				}
				go p.raw.Write(sealed[6:])
				got := make([]byte, size)
				if _, err := io.ReadFull(p.client, got); err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("the peer did not get the %d bytes that were sealed: %v", size, err)
				}
			}
		})
	}
}

func TestEnds(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
			// Of the peer: data and its end in one piece.
			if _, err := p.client.Write([]byte("last")); err != nil {
				t.Fatal(err)
			}
			if err := p.client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := p.stream.Open(nil, append(p.read(), p.read()...))
			if string(got) != "last" || !errors.Is(err, io.EOF) {
				t.Errorf("opened %q, %v; want the last and its end", got, err)
			}
			// Ours.
			if _, err := p.raw.Write(p.stream.End()); err != nil {
				t.Fatal(err)
			}
			if n, err := p.client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("the peer read %d, %v; want the end", n, err)
			}
			if again := p.stream.End(); len(again) != 0 {
				t.Errorf("the end was said twice: %x", again)
			}
			if _, err := p.stream.Seal(nil, []byte("more")); err == nil {
				t.Error("something was sealed behind the end")
			}
		})
	}
}

func TestBrokenRecords(t *testing.T) {
	for name, version := range versions {
		for fault, change := range map[string]func(record []byte) []byte{
			"bit":       func(r []byte) []byte { r[len(r)-1] ^= 1; return r },
			"tooLong":   func(r []byte) []byte { r[3], r[4] = 0xff, 0xff; return r },
			"kind":      func(r []byte) []byte { r[0] = 99; return r },
			"twice":     func(r []byte) []byte { return append(r, r...) },
			"cleartext": func([]byte) []byte { return []byte("\x17\x03\x03\x00\x05hello") },
			"http":      func([]byte) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") },
		} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
				if _, err := p.client.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				in := change(p.read())
				if n := records.Whole(in); n == 0 {
					t.Fatal("it would wait for more for ever")
				}
				if _, err := p.stream.Open(nil, in); err == nil || errors.Is(err, io.EOF) {
					t.Fatalf("opened with %v", err)
				}
				// The peer is told.
				if _, err := p.raw.Write(p.stream.Owed()); err != nil {
					t.Fatal(err)
				}
				var alert *net.OpError
				if _, err := p.client.Read(make([]byte, 1)); !errors.As(err, &alert) || alert.Op != "remote error" {
					t.Errorf("the peer read %v, want an alert", err)
				}
			})
		}
	}
}

func TestWholeRecordsOnly(t *testing.T) {
	p := connect(t, nil)
	for range 3 {
		if _, err := p.client.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
	}
	one := p.read()
	in := append(append(bytes.Clone(one), p.read()...), p.read()...)
	for cut := range in {
		if n := records.Whole(in[:cut]); n != cut/len(one)*len(one) {
			t.Fatalf("%d of %d bytes are whole, with records of %d", n, cut, len(one))
		}
	}
	if got := p.open(in); string(got) != "abcabcabc" {
		t.Errorf("opened %q", got)
	}
}

// TestClient: the other side is the same stream, and the tickets that a server sends before anything else are no end of it.
func TestClient(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			issuer := certtest.NewIssuer(t)
			here, there := pair(t)
			serving := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{issuer.Load(issuer.Issue("server", time.Hour, "localhost"))}})
			served := make(chan error, 1)
			go func() {
				_, err := serving.Write([]byte("hello"))
				served <- err
			}()
			stream, err := records.HandshakeClient(here, &tls.Config{
				RootCAs: issuer.Pool, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-served; err != nil {
				t.Fatal(err)
			}
			p := &peers{t: t, stream: stream, raw: here}
			var got []byte
			for len(got) < len("hello") {
				got = append(got, p.open(p.read())...)
			}
			if string(got) != "hello" {
				t.Errorf("opened %q", got)
			}
			sealed, err := stream.Seal(nil, []byte("back"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := here.Write(append(sealed, stream.End()...)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(serving); err != nil || string(got) != "back" {
				t.Errorf("the server read %q, %v", got, err)
			}
		})
	}
}
