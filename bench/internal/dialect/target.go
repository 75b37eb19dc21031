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
	Host   string // host:port
	Path   string // with the query, of ws
}

// ParseTarget reads ws://host:port/path or tcp://host:port.
func ParseTarget(text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Target{}, fmt.Errorf("target %q is no address: use ws://host:port/path or tcp://host:port", text)
	}
	t := Target{Scheme: u.Scheme, Host: u.Host, Path: u.RequestURI()}
	switch {
	case u.Scheme != "ws" && u.Scheme != "tcp":
		return Target{}, fmt.Errorf("target %q: the scheme is %q; use ws://host:port/path or tcp://host:port", text, u.Scheme)
	case u.Hostname() == "":
		return Target{}, fmt.Errorf("target %q has no host", text)
	case u.Port() == "" && u.Scheme == "tcp":
		return Target{}, fmt.Errorf("target %q has no port", text)
	case u.Port() == "":
		t.Host = net.JoinHostPort(u.Hostname(), "80")
	}
	if u.Scheme == "tcp" {
		t.Path = ""
	}
	return t, nil
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
