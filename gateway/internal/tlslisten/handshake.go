package tlslisten

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"rookery/gateway/internal/kerneltls"
	"rookery/internal/records"
)

// newConfig is one configuration for the life of the listener: crypto/tls makes the keys of session tickets by itself and in this
// Config, a new one each day, and forgets one after seven (documented with tls.Config.SetSessionTicketKeys: "If not called, keys are
// rotated automatically"). A second Config would know none of the first one's tickets.
func newConfig(cfg Config) *tls.Config {
	config := &tls.Config{
		GetConfigForClient: challengeConfig(cfg.Challenge),
		GetCertificate:     cfg.Certificate,
		MinVersion:         cfg.MinVersion,
		// For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
		// Small records at first are for pages that are shown while they load; for messages they are only more to compute.
		DynamicRecordSizingDisabled: true,
	}
	if cfg.Kernel {
		records.KeepKeys(config)
	}
	return config
}

// challengeProtocol is what an authority speaks that looks whether a name is ours, RFC 8737 6.2. Nobody else is offered it.
const challengeProtocol = "acme-tls/1"

// challengeConfig has such an authority see its certificate; nil without any.
func challengeConfig(challenge func(*tls.ClientHelloInfo) *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	if challenge == nil {
		return nil
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		certificate := challenge(hello)
		if certificate == nil {
			return nil, nil // the one for everybody
		}
		return &tls.Config{
			Certificates: []tls.Certificate{*certificate}, NextProtos: []string{challengeProtocol},
			MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true,
		}, nil
	}
}

// turn is a connection whose handshake computes only while it has one of the turns. It gives its turn back while it waits for the
// peer: else a few peers that say nothing would keep all others from theirs.
type turn struct {
	net.Conn
	turns chan struct{}
	begun time.Time
	read  atomic.Int64 // bytes so far; others look at it
	alert byte         // that was sent, 0: none
}

func (t *turn) Read(b []byte) (n int, err error) {
	<-t.turns
	n, err = t.Conn.Read(b)
	t.turns <- struct{}{}
	t.read.Add(int64(n))
	return n, err
}

// Write notes what crypto/tls has against the peer, which its errors say to people only.
func (t *turn) Write(b []byte) (int, error) {
	const alertRecord, alertBytes = 21, 7
	if len(b) == alertBytes && b[0] == alertRecord {
		t.alert = b[alertBytes-1]
	}
	return t.Conn.Write(b)
}

// handshake ends with the connection in a loop, or closed.
func (l *Listener) handshake(t *turn, from netip.Addr) {
	_ = t.SetDeadline(t.begun.Add(l.cfg.Timeout))
	stream, err := l.compute(t)
	if err != nil {
		l.failed(t, from, err)
		return
	}
	if stream.State().NegotiatedProtocol == challengeProtocol {
		l.cfg.Counters.Challenges.Add(1)
		linger(t.Conn) // it has seen what it came for, and nothing is said
		t.Close()
		return
	}
	_ = t.SetDeadline(time.Time{})
	resumed := stream.State().DidResume
	stream, err = l.toKernel(t.Conn, stream)
	if err != nil {
		l.failed(t, from, err)
		return
	}
	l.cfg.Counters.Done.Add(1)
	if resumed {
		l.cfg.Counters.Resumed.Add(1)
	}
	if stream == nil {
		l.cfg.Counters.Kernel.Add(1)
	}
	if err := l.cfg.Enter(t.Conn, from, stream); err != nil {
		l.cfg.Counters.Failed[failedEnter].Add(1)
		l.cfg.Log.Debug("a connection with TLS did not come to a loop", "err", err)
	}
}

// compute makes the handshake, and has a turn unless it waits for the peer.
func (l *Listener) compute(t *turn) (*records.Stream, error) {
	l.turns <- struct{}{}
	defer func() { <-l.turns }()
	return records.Handshake(t, l.tls)
}

// toKernel gives the kernel the records of a connection where that can be. What it gives back is for Enter.
func (l *Listener) toKernel(conn net.Conn, stream *records.Stream) (*records.Stream, error) {
	if !l.cfg.Kernel {
		return stream, nil
	}
	socket, ok := conn.(syscall.Conn)
	keys, exported := stream.Keys()
	defer keys.Clear()
	if !ok || !exported {
		return stream, nil
	}
	switch err := kerneltls.Give(socket, keys); {
	case errors.Is(err, kerneltls.ErrHalf):
		return nil, err
	case err != nil:
		l.cfg.Log.Debug("the kernel does not take the records of a connection", "err", err)
		return stream, nil
	}
	return nil, nil
}

// survive is deferred: a panic over what one peer sent ends that connection, and not the process with all others.
func (l *Listener) survive(t *turn, from netip.Addr) {
	if r := recover(); r != nil {
		t.Close()
		l.cfg.Counters.Failed[failedPanic].Add(1)
		l.cfg.Log.Error("BUG: a handshake of TLS made the gateway panic and its connection was closed",
			"address", from, "panic", r, "stack", string(debug.Stack()))
	}
}

// failed closes a connection whose handshake came to nothing.
func (l *Listener) failed(t *turn, from netip.Addr, err error) {
	defer t.Close()
	if l.closed.Load() || errors.Is(err, net.ErrClosed) {
		return // by us, who have counted it
	}
	reason := reasonOf(t, err)
	l.cfg.Counters.Failed[reason].Add(1)
	l.cfg.Log.Debug("a handshake of TLS failed", "address", from, "reason", failureNames[reason], "err", err)
	switch {
	case reason == failedHTTP:
		tellHTTP(t.Conn)
	case reason == failedGarbage && looksLikeWebRTC(err):
	case reason == failedGarbage:
		l.cfg.Denied(from, false, err)
	case reason == failedTimeout && t.read.Load() > 0:
		l.cfg.Denied(from, true, err)
	}
	if t.alert != 0 || reason == failedHTTP {
		linger(t.Conn)
	}
}

func reasonOf(t *turn, err error) failure {
	var header tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.Is(err, kerneltls.ErrHalf):
		return failedKernel
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failedTimeout
	case errors.Is(err, ErrNoCertificate):
		return failedCertificate
	case errors.As(err, &header):
		if looksLikeHTTP(header.RecordHeader) {
			return failedHTTP
		}
		return failedGarbage
	case errors.As(err, &remote) && remote.Op == "remote error":
		return failedRefused
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return failedLeft
	}
	// RFC 8446 6, and RFC 7301 3.2 for the last.
	const handshakeFailure, protocolVersion, missingExtension, unrecognizedName, noApplicationProtocol = 40, 70, 109, 112, 120
	switch t.alert {
	case handshakeFailure, protocolVersion, missingExtension, unrecognizedName, noApplicationProtocol:
		return failedUnsupported
	}
	return failedGarbage
}

// looksLikeHTTP reports whether a peer began with a request and not with TLS.
func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// looksLikeWebRTC reports whether a peer began as a browser does that a page, of whomever, has look for a relay or a peer by TCP. Its address must not
// be banned for that: framing.FromBrowser has more of it, where there are more than these five bytes.
func looksLikeWebRTC(err error) bool {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) {
		return false
	}
	head := header.RecordHeader
	const ssl2, binding = "\x80\x46\x01\x03\x01", "\x00\x01\x00" // this one behind its length
	return head[0]&0xc0 == 0 && head[4] == 0x21 || string(head[2:]) == binding || string(head[:]) == ssl2
}

// tellHTTP tells a peer that forgot the s of https so, without TLS, since it speaks none.
func tellHTTP(conn net.Conn) {
	const body = "This port speaks TLS: use https:// or wss://.\n"
	_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+body)
}

// linger lets a peer read why it is turned away: closing with unread input would be a reset, and that lost. It takes no longer than a
// handshake may, and a moment only.
func linger(conn net.Conn) {
	const moment, most = 500 * time.Millisecond, 64 << 10
	_ = conn.SetDeadline(time.Now().Add(moment))
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, most))
	}
}
