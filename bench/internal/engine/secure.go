package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"rookery/internal/records"
)

// scratchBytes is the most that is kept between turns of what all connections open or seal in.
const scratchBytes = 1 << 20

// secure has the next connection of c speak TLS.
func (l *Loop) secure(c int, config *tls.Config) {
	if config == nil {
		return
	}
	if l.secured == nil {
		l.secured, l.turns = make([]*secured, len(l.sockets)), newTurns(l.queue)
	}
	l.secured[c] = &secured{config: config}
}

// tls gives the TLS of a connection, nil: it has none.
func (l *Loop) tls(c int) *secured {
	if l.secured == nil {
		return nil
	}
	return l.secured[c]
}

// stream is tls for a connection whose handshake is over.
func (l *Loop) stream(c int) *records.Stream {
	if t := l.tls(c); t != nil {
		return t.stream
	}
	return nil
}

// Shaking reports whether the handshake of TLS of c goes on.
func (l *Loop) Shaking(c int) bool {
	t := l.tls(c)
	return t != nil && t.handshake != nil
}

// Agreed says what TLS has agreed on for c, which is open; ok is false without TLS.
func (l *Loop) Agreed(c int) (state tls.ConnectionState, ok bool) {
	if s := l.stream(c); s != nil {
		return s.State(), true
	}
	return state, false
}

// sealedBytes is more than n bytes can become in records, of which each has 22 bytes of its own with TLS 1.3, and up to 57 with TLS 1.2 and CBC.
func sealedBytes(n int) int { return n + (n>>14+1)*64 }

// seal puts b into records, valid until the next call.
func (l *Loop) seal(s *records.Stream, b []byte) ([]byte, error) {
	if cap(l.sealed) > scratchBytes {
		l.sealed = nil
	}
	sealed, err := s.Seal(l.sealed[:0], b)
	l.sealed = sealed
	return sealed, err
}

// open gives the handler what the whole records in in hold, and what is left of in. The error is what ends the connection once
// that is worked off; io.EOF is an orderly end.
func (l *Loop) open(c int, stream *records.Stream, in []byte) (rest []byte, err error) {
	n := records.Whole(in)
	if n == 0 {
		return in, nil
	}
	borrowed := len(stream.Plain) == 0
	if borrowed {
		if cap(l.plain) > scratchBytes {
			l.plain = nil
		}
		l.plain, err = stream.Open(l.plain[:0], in[:n])
		stream.Plain = l.plain
	} else {
		// It has memory of its own, which grows by doubling: put together anew each time, a long message in short records would
		// cost its length squared.
		stream.Plain, err = stream.Open(stream.Plain, in[:n])
	}
	s := &l.sockets[c]
	generation := s.generation
	if owed := stream.Owed(); len(owed) > 0 && !s.broken {
		if l.Unsent(c)+len(owed) > MaxUnsent { // a server may ask for answers without end that it does not read
			l.breaks(c, ErrFull)
		} else {
			l.send(c, owed)
		}
	}
	if len(stream.Plain) > 0 {
		done := l.handler.Received(c, stream.Plain)
		if s.fd < 0 || s.generation != generation {
			return nil, nil // closed within
		}
		stream.Plain = stream.Plain[done:]
	}
	switch {
	case len(stream.Plain) == 0:
		stream.Plain = nil
	case borrowed:
		stream.Plain = bytes.Clone(stream.Plain)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("records of TLS: %w", err)
	}
	return in[n:], err
}
