package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
)

// attempt is a try to open a socket. The machine has at most one and forgets it by
// cancelling it.
type attempt struct{ cancel context.CancelFunc }

// startAttempt gets the token and dials in a goroutine of its own, which ends with an
// event to the machine, or soon after cancel.
func (m *machine) startAttempt() *attempt {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{cancel: cancel}
	m.wait.Go(func() {
		defer cancel()
		socket, token, err := m.open(ctx)
		posted := m.post(func() {
			switch {
			case m.attempt != a:
				socket.discard()
			case err != nil:
				m.attempt = nil
				var status *StatusError
				errors.As(err, &status)
				m.lost(err, status.hint())
			default:
				m.opened(m.startConnection(socket), token)
			}
		})
		if !posted {
			socket.discard()
		}
	})
	return a
}

// hint is the wait that the server asked for. Works on nil.
func (e *StatusError) hint() time.Duration {
	if e == nil {
		return 0
	}
	return e.RetryAfter
}

// socket is an open connection with the framing that it speaks.
type socket struct {
	net.Conn
	framing framing
}

// discard closes the socket; nothing was said on it. Works on nil.
func (s *socket) discard() {
	if s != nil {
		s.Close()
	}
}

func (m *machine) open(ctx context.Context) (s *socket, token string, err error) {
	token = m.config.Token
	if m.config.TokenSource != nil {
		if token, err = m.config.TokenSource(ctx); err != nil {
			return nil, "", fmt.Errorf("get a token: %w", err)
		}
	}
	target, err := url.Parse(m.config.URL)
	if err != nil {
		return nil, "", err
	}
	if target.Scheme == "tcp" {
		conn, err := m.config.Dial(ctx, "tcp", target.Host)
		if err != nil {
			return nil, "", err
		}
		return &socket{conn, newStream(conn)}, token, nil
	}
	s, err = m.upgrade(ctx, target)
	return s, token, err
}

// upgrade opens a WebSocket.
func (m *machine) upgrade(ctx context.Context, target *url.URL) (*socket, error) {
	var refused *StatusError
	dialer := ws.Dialer{
		Protocols: []string{proto.SubprotocolBinary},
		NetDial:   m.config.Dial,
		TLSConfig: m.config.TLS,
		OnStatusError: func(status int, _ []byte, response io.Reader) {
			refused = &StatusError{Status: status, RetryAfter: readRetryAfter(response)}
		},
	}
	if m.config.Header != nil {
		dialer.Header = ws.HandshakeHeaderHTTP(m.config.Header)
	}
	conn, early, _, err := dialer.Dial(ctx, target.String())
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	if early == nil {
		early = bufio.NewReader(conn)
	}
	return &socket{conn, newWebSocket(early)}, nil
}

// readRetryAfter finds the wait that a refusal of the upgrade asks for: RFC 9110 section
// 10.2.3 allows seconds and a date.
func readRetryAfter(r io.Reader) time.Duration {
	response, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}
