package tuning

import "fmt"

func portChecks() []Check {
	out := []Role{BehindProxy, LoadGenerator}
	return []Check{
		{
			Key:      "net.ipv4.ip_local_port_range",
			Reason:   "who opens connections (a proxy to the gateway, a load generator) takes one of these ports for each, from each of its addresses to each address and port",
			Cost:     "programs that listen on a port in the range may find it taken; net.ipv4.ip_local_reserved_ports keeps those out",
			Avoid:    "the machine only accepts connections: those need no port of their own",
			Computed: "1024 to 65535, if the range is too small for the connections of one pair of addresses",
			Source:   docIP + ", IP Variables, ip_local_port_range",
			roles:    out,

			severity: Stops,
			want: func(v *view, now current) string {
				if v.portsNeeded() <= portsOf(now) || now.Number(0) <= widestFrom && now.Number(1) >= widestTo {
					return ""
				}
				return words(widestFrom, widestTo)
			},
			at: func(v *view, now current) int { return int(portsOf(now)) * v.target.Sources },
			judge: func(v *view, now current) verdict {
				const most = widestTo - widestFrom + 1
				if v.portsNeeded() <= most {
					return verdict{}
				}
				pairs := (int64(v.target.Connections) + most - 1) / most
				do := fmt.Sprintf("put load on from %d source addresses (rookery bench --source)", pairs)
				if v.target.Role == BehindProxy {
					do = fmt.Sprintf("name the gateway under %d addresses in the proxy: 127.0.0.1, 127.0.0.2 and so on lead to it", pairs)
				}
				return verdict{severity: Stops, at: int(portsOf(now)) * v.target.Sources,
					says: fmt.Sprintf("it holds %s connections, and at its widest %s", number(portsOf(now)*int64(v.target.Sources)), number(most*int64(v.target.Sources))),
					do:   do + ", and say so with --sources"}
			},
		}, {
			Key:      "net.ipv4.ip_local_reserved_ports",
			Reason:   "a wider range of ports must not take one on which a program wants to listen",
			Cost:     "none",
			Avoid:    "the range is left as it is",
			Computed: "the gateway's port and 9090, if the range is made wider and none is reserved",
			Source:   docIP + ", IP Variables, ip_local_reserved_ports",
			roles:    out,

			severity: Advice,
			want: func(v *view, now current) string {
				ports := v.was("net.ipv4.ip_local_port_range")
				if ports.Err != nil || v.portsNeeded() <= portsOf(ports) || now.Text != "" {
					return "" // who has set it knows what listens here
				}
				return fmt.Sprintf("%d,9090", v.target.Port)
			},
		}, {
			Key:      "net.ipv4.tcp_tw_reuse",
			Reason:   "a port of a connection that this machine closed is not free for a minute; 1 lets a new connection take it after a second where timestamps allow that",
			Cost:     "none on machines whose peers send timestamps",
			Avoid:    "the machine only accepts connections: it does nothing there",
			Computed: "1; with a proxy on the same machine 2, the default, is enough",
			Source:   docIP + ", TCP variables, tcp_tw_reuse",
			roles:    out,

			severity: Hurts,
			want: func(v *view, now current) string {
				if now.Text == "1" || now.Text == "2" && v.target.Role == BehindProxy {
					return "" // 2 is on loopback, which is where a proxy on this machine speaks
				}
				return "1"
			},
		}, {
			Key:    "net.ipv4.tcp_max_tw_buckets",
			Reason: "connections that this machine closed are kept for a minute, to tell late packets from those of new ones; beyond this many they are forgotten at once",
			Cost:   "some 250 bytes for each",
			Source: docIP + ", TCP variables, tcp_max_tw_buckets",
			judge: func(v *view, now current) verdict {
				if lost := v.counts["TcpExt.TCPTimeWaitOverflow"]; lost > 0 {
					return verdict{severity: Advice, says: fmt.Sprintf("%s were forgotten early since boot; that is harmless as long as it is seldom", number(lost))}
				}
				return verdict{says: fmt.Sprintf("%s are kept now", number(v.host.Sockets("TCP", "tw")))}
			},
		}, {
			Key:    "net.ipv4.tcp_keepalive_time",
			Reason: "the gateway asks silent connections itself, by heartbeats and by a keepalive of its own on each socket: this is for programs that set none",
			Source: docIP + ", TCP variables, tcp_keepalive_time; docs/configuration.md, heartbeat",
			roles:  servers(),
			judge:  func(*view, current) verdict { return verdict{} },
		},
	}
}

const (
	widestFrom = 1024
	widestTo   = 65535
)

func portsOf(now current) int64 { return now.Number(1) - now.Number(0) + 1 }

func (v *view) portsNeeded() int64 {
	sources := int64(v.target.Sources)
	return (int64(v.target.Connections) + sources - 1) / sources
}
