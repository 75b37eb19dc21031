package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/jwks"
	"rookery/storage/ship"
)

// Validate says everything that keeps the configuration from working, or nil. It reads
// the key files, so it fails for what the server would fail for.
func (c Config) Validate() error {
	var faults faultList
	c.validate(&faults)
	return faults.join()
}

// faultList gathers faults, at most one for each setting: the second is mostly an echo of
// the first.
type faultList struct {
	errs  []error
	names map[string]bool // settings with a fault
	// unread is set when the file could not be read: what seems to be missing may be in it.
	unread bool
}

func (f *faultList) add(s setting, from, text, reason string) {
	if f.names == nil {
		f.names = map[string]bool{}
	}
	if f.names[s.name] {
		return
	}
	f.names[s.name] = true
	shown := strconv.Quote(s.shown(text))
	if s.secret {
		shown = "a secret"
	}
	if from == "" {
		from = "default"
	}
	f.errs = append(f.errs, fmt.Errorf("%s = %s (%s): %s", s.name, shown, from, reason))
}

// addText adds a fault that belongs to no setting.
func (f *faultList) addText(text string) { f.errs = append(f.errs, errors.New(text)) }

// sound reports whether none of the settings has a fault, so that a rule between them
// makes sense.
func (f *faultList) sound(names ...string) bool {
	for _, name := range names {
		if f.names[name] {
			return false
		}
	}
	return true
}

func (f *faultList) join() error { return errors.Join(f.errs...) }

func (c Config) validate(faults *faultList) {
	known := settings()
	for _, s := range known {
		if v := s.value(&c); faults.sound(s.name) {
			if reason := v.fault(); reason != "" {
				faults.add(s, c.source(s), v.String(), reason)
			}
		}
	}
	// refuse blames the first of the settings that a rule ties together.
	refuse := func(broken bool, reason string, names ...string) {
		if !broken || !faults.sound(names...) {
			return
		}
		for _, s := range known {
			if s.name == names[0] {
				faults.add(s, c.source(s), s.value(&c).String(), reason)
			}
		}
	}

	listenFault, adminFault := addressFault(c.Listen), ""
	if c.Admin != "" {
		adminFault = addressFault(c.Admin)
	}
	refuse(listenFault != "", listenFault, "listen")
	refuse(adminFault != "", adminFault+", or empty to turn it off", "admin")
	refuse(c.Admin != "" && overlap(c.Listen, c.Admin),
		fmt.Sprintf("is also taken by listen, %q; metrics and health need an address of their own", c.Listen), "admin", "listen")
	c.validateTLS(refuse)
	refuse(c.Data == "", "is empty; name a directory for the log", "data")

	l := c.Limits
	// JSON writes a control character as six. The rest of a page comes before such a message.
	least := 256<<10 + 6*l.MessageBytes
	refuse(l.OutboundBytes < least,
		fmt.Sprintf("is under %s, so that a page with the largest message, limits.message_bytes, could never be sent in JSON; raise it", formatSize(int64(least))),
		"limits.outbound_bytes", "limits.message_bytes")
	refuse(l.OutboundTotalBytes < l.OutboundBytes,
		fmt.Sprintf("is under what one connection may take, limits.outbound_bytes, %s; raise it", formatSize(int64(l.OutboundBytes))),
		"limits.outbound_total_bytes", "limits.outbound_bytes")
	for _, host := range c.AdminHosts {
		refuse(host == "" || strings.ContainsAny(host, "/:*@ ["), fmt.Sprintf("has %q, which is no name of a host; write it without scheme and port, like ops.example.com", host), "admin_hosts")
	}
	for _, origin := range l.Origins {
		reason := originFault(origin)
		refuse(reason != "", reason, "limits.origins")
	}
	patterns := func(list []string, setting string) {
		for _, pattern := range list {
			if err := identity.CheckPattern(pattern); err != nil {
				refuse(true, fmt.Sprintf("is no list of room patterns: %v; write a name, or a beginning of names with a * behind it", err), setting)
			}
		}
	}
	patterns(c.Rooms.Ephemeral, "rooms.ephemeral")
	patterns(c.Rooms.Receipts, "rooms.receipts")
	patterns(c.Rooms.Pins, "rooms.pins")
	patterns(c.Rooms.Presence, "rooms.presence")
	_, err := c.Rooms.gatherRules()
	refuse(err != nil, fmt.Sprint(err), "rooms.gather")
	_, err = c.Rooms.editRules()
	refuse(err != nil, fmt.Sprint(err), "rooms.edit_window")
	_, err = c.Limits.rateRules()
	refuse(err != nil, fmt.Sprint(err), "limits.rates")
	_, err = c.Rooms.memberRules()
	refuse(err != nil, fmt.Sprint(err), "rooms.members")
	_, err = parseRetention(c.Retention)
	refuse(err != nil, fmt.Sprint(err), "retention.rooms")
	shipFault := c.shipFault()
	refuse(shipFault != "", shipFault, "ship.to", "data")
	_, _, endpointFault := ship.ParseEndpoint(c.Ship.S3Endpoint)
	refuse(endpointFault != nil, fmt.Sprint(endpointFault), "ship.s3_endpoint")
	for _, fault := range c.Push.faults() {
		refuse(true, fault.err.Error(), fault.setting)
	}
	hookSetting, hookFault := c.Webhooks.fault()
	refuse(hookFault != "", hookFault, hookSetting, "webhooks.url")
	patterns(c.Webhooks.Rooms, "webhooks.rooms")
	c.validateOIDC(refuse)
	c.validateProxy(refuse)
	refuse(c.Drain.Timeout < c.Drain.Window,
		fmt.Sprintf("ends before drain.window, %v, is over; make it longer", c.Drain.Window), "drain.timeout", "drain.window")

	if c.Auth.JWKS != "" {
		err := jwks.CheckSource(c.Auth.JWKS)
		refuse(err != nil, fmt.Sprint(err), "auth.jwks")
	}
	c.validateKeys(faults)
	c.validateAPIKeys(faults)
}

// shipFault says why the log can't be shipped to where it is told to, "" if it may. Whether the place is there
// shows when it is shipped to: the server does without.
func (c Config) shipFault() string {
	if c.Ship.To == "" {
		return ""
	}
	location, err := ship.ParseLocation(c.Ship.To)
	switch {
	case err != nil:
		return err.Error()
	case location.Bucket == "" && (c.Ship.S3Endpoint != "" || c.Ship.S3Region != ""):
		return "is a directory, and ship.s3_endpoint and ship.s3_region are for a bucket; write s3://bucket/prefix, or leave them out"
	case location.Bucket == "" && within(location.Directory, c.Data):
		return fmt.Sprintf("lies in the directory of the log, setting data, %q; a copy is of use on another disk", c.Data)
	}
	return ""
}

// within reports whether a path is a directory or lies below it.
func within(path, dir string) bool {
	path, errPath := filepath.Abs(path)
	dir, errDir := filepath.Abs(dir)
	return errors.Join(errPath, errDir) == nil && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"))
}

// source says where a setting's value came from, for faults and for Print.
func (c Config) source(s setting) string {
	if from := c.sources[s.name]; from != "" {
		return from
	}
	standard := DefaultConfig()
	if s.value(&c).String() == s.value(&standard).String() {
		return "default"
	}
	return "set by the program"
}

// addressFault says why an address can't be listened on, "" if it may. It resolves no
// name: whether the machine has the address shows when it is bound.
func addressFault(address string) string {
	const want = "; write host:port like 127.0.0.1:8080, or :8080 for all addresses"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "is no address" + want
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "has no port from 0 to 65535" + want
	}
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return ""
	}
	if strings.Trim(host, "0123456789.") == "" {
		return "has no valid IP address" + want
	}
	for _, c := range []byte(host) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '.' {
			return "has no valid host" + want
		}
	}
	return ""
}

// overlap reports whether two valid addresses can't be bound at the same time. Port 0
// never collides.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return portA == portB && portA != "0" && (hostA == hostB || wildcard(hostA) || wildcard(hostB))
}

func wildcard(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "" || err == nil && address.IsUnspecified()
}

// originFault says why an entry can't equal the Origin header that browsers send:
// RFC 6454 section 6.2, scheme "://" host [ ":" port ], in lower case and without a path.
func originFault(origin string) string {
	if origin == "*" {
		return ""
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		strings.Contains(u.Host, "*") || origin != u.Scheme+"://"+u.Host {
		return fmt.Sprintf("has %q, which is no origin; write scheme://host[:port] like https://chat.example.com, or *", origin)
	}
	if standard := map[string]string{"http": "80", "https": "443"}; u.Port() == standard[u.Scheme] {
		return fmt.Sprintf("has %q, but browsers leave the standard port out; write %s://%s", origin, u.Scheme, u.Hostname())
	}
	if strings.ToLower(origin) != origin {
		return fmt.Sprintf("has %q, but browsers send lower case; write %q", origin, strings.ToLower(origin))
	}
	return ""
}

// checkSecretFile refuses a file with a secret that every user of the machine can read.
func checkSecretFile(path string, s setting, from string, faults *faultList) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return
	}
	faults.add(s, from, "", openToAll(path))
}

func openToAll(path string) string {
	return fmt.Sprintf("file %s can be read by every user of the machine, and whoever reads it has the secret; chmod o-r it", path)
}
