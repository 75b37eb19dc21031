package records_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rookery/internal/records"
	"rookery/internal/records/recordstest"
)

// TestPiecesOfAMessageAreBounded: crypto/tls gathers half a message after the handshake, and no plaintext tells of it.
func TestPiecesOfAMessageAreBounded(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
			if p.stream.Half() {
				t.Error("something is half before anything was sent")
			}
			piece := recordstest.BeginsCertificate()
			const bound = 32 << 10
			for sent := 0; ; {
				p.forger.PieceOfMessage(version, piece)
				record := p.read()
				got, err := p.stream.Open(nil, record)
				if sent += len(record); err != nil {
					if sent <= bound || sent > bound+len(record) || !strings.Contains(err.Error(), "32 KiB") {
						t.Errorf("after %d bytes: %v", sent, err)
					}
					return
				}
				if len(got) != 0 || sent > bound {
					t.Fatalf("after %d bytes %q was opened", sent, got)
				}
				if half := sent > 1<<10; p.stream.Half() != half {
					t.Fatalf("after %d bytes half is %v", sent, !half)
				}
				piece = make([]byte, 1000)
			}
		})
	}
}

// TestDataBetweenPieces: with TLS 1.2 data may stand between pieces, and does not make them fewer.
func TestDataBetweenPieces(t *testing.T) {
	p := connect(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	piece := recordstest.BeginsCertificate()
	for sent := 0; ; {
		p.forger.PieceOfMessage(tls.VersionTLS12, piece)
		record := p.read()
		if _, err := p.client.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		_, err := p.stream.Open(nil, append(record, p.read()...))
		if sent += len(record); err != nil {
			return
		}
		if sent > 32<<10 {
			t.Fatalf("%d bytes were gathered", sent)
		}
		piece = make([]byte, 1000)
	}
}

// TestMuchDataIsNotBarren: what is counted since the last plaintext ends with it.
func TestMuchDataIsNotBarren(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
			for range 10 {
				sent := make([]byte, 16<<10)
				if _, err := p.client.Write(sent); err != nil {
					t.Fatal(err)
				}
				for left := len(sent); left > 0; {
					left -= len(p.open(p.read()))
				}
				if p.stream.Half() {
					t.Fatal("data counts as half a message")
				}
			}
		})
	}
}

// TestAHeaderThatIsNoneIsNotWaitedFor: the rest of such a record never comes.
func TestAHeaderThatIsNoneIsNotWaitedFor(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			p := connect(t, func(c *tls.Config) { c.MaxVersion = version })
			in := []byte("\x63\x03\x03\x01\x00begun")
			if n := records.Whole(in); n != len(in) {
				t.Fatalf("%d bytes are to be opened", n)
			}
			if _, err := p.stream.Open(nil, in); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("opened with %v", err)
			}
		})
	}
}

// TestHandshakesAreBounded: a hello in records without end.
func TestHandshakesAreBounded(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	for _, conn := range []net.Conn{here, there} {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	taken := make(chan int)
	go func() {
		defer there.Close()
		n := 0
		defer func() { taken <- n }()
		record := append([]byte("\x16\x03\x01\x00\x01"), 1)
		for _, b := range append([]byte{1, 0, 0xff, 0xff}, bytes.Repeat([]byte{0}, 60_000)...) {
			record[5] = b
			wrote, err := there.Write(record)
			if n += wrote; err != nil {
				return
			}
		}
	}()
	_, err := records.Handshake(here, &tls.Config{})
	here.Close()
	if n := <-taken; err == nil || !strings.Contains(err.Error(), "64 KiB") || n < 64<<10 || n > 64<<10+16 {
		t.Errorf("after %d bytes: %v", n, err)
	}
}
