package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"rookery/proto"
)

// Config is read once by New. URL and one of Token, TokenSource and Name are required; the
// zero value of the rest is a good choice.
type Config struct {
	// URL of the gateway: ws://host:port/ws, wss://host/ws or tcp://host:port. A
	// WebSocket URL without a path gets /ws.
	URL string

	// Token is a signed token that is used for every connection. When it expires, the
	// client closes: use TokenSource for a client that lives longer.
	Token string
	// TokenSource is asked before every try to connect. It must return when ctx ends,
	// because Close waits for it. An error counts as a failed try.
	TokenSource func(ctx context.Context) (string, error)
	// Name is the bare user name, which only a gateway in development mode takes.
	Name string

	// OnState is told every change of state, one after the other, from a goroutine of
	// its own, so that it may use the client. One that is slow misses the oldest of more
	// than 64 changes.
	OnState func(StateChange)

	// OnRoom is told, in the same way, what happens in rooms with members: to the user in all of them, to others in those that are
	// joined.
	OnRoom func(RoomEvent)

	// InitialSpread spreads the first connection over random(0, InitialSpread). 0: at
	// once. To be set for fleets of devices that boot together.
	InitialSpread time.Duration
	// BackoffBase and BackoffCap bound the wait before each try: random(0, min(BackoffCap,
	// BackoffBase * 2^failures)). 0: 500 ms and 30 s.
	BackoffBase time.Duration
	BackoffCap  time.Duration
	// ConnectTimeout bounds one try: token, socket and the server's reply. 0: 10 s.
	ConnectTimeout time.Duration
	// StableAfter is how long a connection must last to count as a success, after which
	// waits start from BackoffBase again. 0: 10 s.
	StableAfter time.Duration

	// PublishWindow is how many publishes of a room may be unanswered at a time. 0: 1,
	// which keeps the order of the calls whatever the server answers.
	PublishWindow int
	// MaxQueued and MaxQueuedBytes bound the publishes that are not yet answered, beyond
	// which a publish fails with ErrQueueFull. 0: 1,000 and 1 MiB.
	MaxQueued      int
	MaxQueuedBytes int

	// Header is sent with the WebSocket upgrade: what a proxy on the way may ask for.
	Header http.Header
	// TLS is for wss. nil: the defaults of crypto/tls.
	TLS *tls.Config
	// Dial opens the socket. nil: net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// withDefaults checks c and fills in what was left out. All faults are reported together.
func (c Config) withDefaults() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	if target, err := parseURL(c.URL); err != nil {
		fault("URL %q: %w", c.URL, err)
	} else {
		c.URL = target.String()
	}
	ways := 0
	for _, set := range []bool{c.Token != "", c.TokenSource != nil, c.Name != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		fault("identity: set exactly one of Token, TokenSource and Name, not %d", ways)
	}
	if c.Name != "" && !proto.ValidName(c.Name) {
		fault("Name %q: %w", c.Name, errName)
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		fallback time.Duration
	}{
		{"InitialSpread", &c.InitialSpread, 0},
		{"BackoffBase", &c.BackoffBase, 500 * time.Millisecond},
		{"BackoffCap", &c.BackoffCap, 30 * time.Second},
		{"ConnectTimeout", &c.ConnectTimeout, 10 * time.Second},
		{"StableAfter", &c.StableAfter, 10 * time.Second},
	} {
		if *d.value < 0 {
			fault("%s %s: must not be negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	for _, n := range []struct {
		name     string
		value    *int
		fallback int
	}{
		{"PublishWindow", &c.PublishWindow, 1},
		{"MaxQueued", &c.MaxQueued, 1000},
		{"MaxQueuedBytes", &c.MaxQueuedBytes, 1 << 20},
	} {
		if *n.value < 0 {
			fault("%s %d: must not be negative", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.fallback
		}
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if len(faults) > 0 {
		return c, fmt.Errorf("client configuration: %w", errors.Join(faults...))
	}
	return c, nil
}

var errName = errors.New("must be 1 to 128 bytes of UTF-8 without control characters")

// parseURL reads the address of a gateway.
func parseURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is no URL: want something like ws://127.0.0.1:8080/ws")
	}
	switch target.Scheme {
	case "ws", "wss":
		if target.Path == "" {
			target.Path = "/ws"
		}
	case "tcp":
		if target.Port() == "" {
			return nil, errors.New("has no port: want tcp://host:port")
		}
	default:
		return nil, errors.New("must start with ws://, wss:// or tcp://")
	}
	if target.Hostname() == "" {
		return nil, errors.New("has no host: want something like ws://127.0.0.1:8080/ws")
	}
	return target, nil
}
