package dialect

import (
	"fmt"
	"net/url"
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
		t.Host = u.Hostname() + ":80"
	}
	return t, nil
}
