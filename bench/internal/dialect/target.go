package dialect

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Target is an address that connections go to.
type Target struct {
	Scheme string // ws or tcp
	TLS    bool   // below it
	Host   string // host:port
	Path   string // with the query, of ws
}

// forms are what targets look like.
const forms = "use ws://host:port/path, tcp://host:port, or with TLS wss://host:port/path, tls://host:port"

// ParseTarget reads a target of one of the forms.
func ParseTarget(text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Target{}, fmt.Errorf("target %q is no address: %s", text, forms)
	}
	t := Target{Scheme: u.Scheme, Host: u.Host, Path: u.RequestURI()}
	port := "80"
	switch u.Scheme {
	case "ws", "tcp":
	case "wss":
		t.Scheme, t.TLS, port = "ws", true, "443"
	case "tls":
		t.Scheme, t.TLS = "tcp", true
	default:
		return Target{}, fmt.Errorf("target %q: the scheme is %q; %s", text, u.Scheme, forms)
	}
	switch {
	case u.Hostname() == "":
		return Target{}, fmt.Errorf("target %q has no host", text)
	case u.Port() == "" && t.Scheme == "tcp":
		return Target{}, fmt.Errorf("target %q has no port", text)
	case u.Port() == "":
		t.Host = net.JoinHostPort(u.Hostname(), port)
	}
	if t.Scheme == "tcp" {
		t.Path = ""
	}
	return t, nil
}

// Hostname is the host without its port.
func (t *Target) Hostname() string {
	host, _, err := net.SplitHostPort(t.Host)
	if err != nil {
		return t.Host
	}
	return host
}

// path gives the path, or another one where the target has none but "/".
func (t *Target) path(usual string) string {
	path, query, asked := strings.Cut(t.Path, "?")
	if path == "/" {
		path = usual
	}
	if asked {
		path += "?" + query
	}
	return path
}

// web gives the WebSocket side of a dialect that speaks nothing else.
func (t *Target) web(dialect, usual string) (*webSocket, error) {
	if t.Scheme != "ws" {
		return nil, fmt.Errorf("the dialect %s is spoken over WebSocket: use a ws:// target instead of %s://%s", dialect, t.Scheme, t.Host)
	}
	return &webSocket{host: t.Host, path: t.path(usual)}, nil
}
