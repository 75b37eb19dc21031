// Package tuning says what of a Linux machine limits a gateway with many connections, computes what should be set
// instead, and gives a reason for each value.
//
//	tuning.go         what is wanted of a machine
//	capacity.go       how many connections a machine holds, and the figures that this rests on
//	check.go          a check, and how all of them are gone through
//	checks.go         the list of them; the files checks_*.go have one subject each
//	firewall.go       rules of filters, in force or in files
//	advice.go         settings found in the system's files that no longer exist or do harm
//	report.go         findings as text
//	plan.go           the values that a machine should get
//	files.go          the files that make them last
//	explain.go        all that is known of one key
//	profile.go        ready profiles, for machines that are not there
//
// Package tuning/host reads the machine, package tuning/apply changes it and takes that back, package tuning/script
// writes a plan as a shell script. This package reads only, and owns no state.
//
// # Checks
//
// A check is data: the key by which everybody knows it, how its value is read, what it should be for a target, from how many
// connections on it limits, why, what it costs, when to leave it, and which document says so. A check for which a wanted
// value can be computed is one that apply sets; all others tell only.
//
// # What is not promised
//
// The figures in capacity.go are measured or estimated, and say which. What a provider, a hypervisor, a firewall that is not in this
// machine or a proxy limits can't be read here. Of the rules of a firewall it is seen whether they name the port, not what they do with it.
package tuning

import (
	"fmt"
	"strconv"
	"strings"

	"rookery/tuning/host"
)

// Role is what a machine does.
type Role string

const (
	Gateway       Role = "gateway"        // it runs rookery serve
	BehindProxy   Role = "behind-proxy"   // it does, and a proxy on the same machine takes the connections
	LoadGenerator Role = "load-generator" // it runs rookery bench against another machine
)

// Roles are all of them.
func Roles() []Role { return []Role{Gateway, BehindProxy, LoadGenerator} }

// servers are the roles in which connections are accepted.
func servers() []Role { return []Role{Gateway, BehindProxy} }

// sockets is how many of a connection are on the machine: with a proxy its client's, its own towards the gateway, and
// the gateway's.
func (r Role) sockets() int64 {
	if r == BehindProxy {
		return 3
	}
	return 1
}

// entries is how many a connection is for the tracker: it tracks loopback, too, and so both sides of a proxy.
func (r Role) entries() int64 {
	if r == BehindProxy {
		return 2
	}
	return 1
}

// Target is what a machine should carry.
type Target struct {
	Role        Role    `json:"role"`               // "" is Gateway
	Connections int     `json:"connections"`        // 0: as many as the machine holds with the messages
	MessageRate float64 `json:"message_rate"`       // messages a second, those that come in and those that go out together
	Sources     int     `json:"sources"`            // pairs of a source and a target address, of a load generator or a proxy; 0 is 1
	Port        int     `json:"port"`               // of the gateway; 0 is 8080
	Webhooks    int     `json:"webhooks,omitempty"` // webhooks.concurrency of a gateway that asks an application; 0: it asks none
	TLS         bool    `json:"tls,omitempty"`      // the gateway has tls.listen
	Socket      bool    `json:"socket,omitempty"`   // the gateway has proxy.socket, as it is taken to have behind a proxy of its machine
	Data        string  `json:"data,omitempty"`     // directory of the log, whose disk is measured; "" does not write anything
}

// complete gives a target without zeros.
func (t Target) complete(h *host.Host) Target {
	if t.Role == "" {
		t.Role = Gateway
	}
	t.Sources = max(1, t.Sources)
	if t.Port == 0 {
		t.Port = 8080
	}
	if t.Connections == 0 {
		t.Connections = Capacity(h, t.Role).holds(t.MessageRate)
	}
	return t
}

func (t Target) String() string {
	return fmt.Sprintf("%s connections, %s messages a second, as %s", number(int64(t.Connections)), number(int64(t.MessageRate)), t.Role)
}

// Reserve is how many descriptors a gateway with so many event loops keeps beside the connections of a target: gateway/descriptors.go
// counts them, and a test compares.
func Reserve(loops int, t Target) int {
	reserve := 160 + 9*loops
	if t.Webhooks > 0 {
		reserve += t.Webhooks + 6
	}
	if t.Socket || t.Role == BehindProxy {
		reserve += 9
	}
	if t.TLS {
		reserve += 1094
	}
	return reserve
}

func (v *view) reserve() int { return Reserve(v.host.Processors, v.target) }

// descriptors is what the gateway's process must be allowed to open, rounded up.
func (v *view) descriptors() int64 {
	needed := int64(v.target.Connections + v.reserve())
	return (needed + 999) / 1000 * 1000
}

// number writes thousands apart.
func number[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// size writes bytes with a unit and at most one decimal.
func size(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0") + " " + unit
}

// powerOfTwo is the least one that is not less.
func powerOfTwo(n int64) int64 {
	p := int64(1)
	for p < n {
		p *= 2
	}
	return p
}

func words(numbers ...int64) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, " ")
}
