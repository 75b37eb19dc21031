package tuning

import (
	"fmt"

	"rookery/tuning/host"
)

// returnTime is over how many seconds clients come back after a restart: the gateway tells them to spread so (drain.window).
const returnTime = 10

// arrivals is how many connections may wait to be accepted: those of a second in which all come back.
func (v *view) arrivals() int64 {
	return min(65535, max(4096, powerOfTwo(int64(v.target.Connections)/returnTime)))
}

func acceptChecks() []Check {
	return []Check{
		{
			Key:      "net.core.somaxconn",
			Reason:   "connections that the gateway has not accepted yet wait in a queue that is never longer than this; what comes when it is full is dropped and sent again by the client seconds later",
			Cost:     "memory for connections that wait, and only for those; the gateway reads it when it starts, so restart it",
			Avoid:    "never on a machine for connections: a longer queue does nothing while it is empty",
			Computed: "a tenth of the connections, as many as come back in a second after a restart, rounded up to a power of two; 4096 to 65535",
			Source:   docIP + ", TCP variables, somaxconn; listen(2), Notes",
			roles:    servers(),

			severity: Hurts,
			rule:     Rule{Kind: Least},
			want:     func(v *view, now current) string { return atLeast(now, v.arrivals()) },
			judge: func(v *view, now current) verdict {
				over, drops := v.counts["TcpExt.ListenOverflows"], v.counts["TcpExt.ListenDrops"]
				if over == 0 {
					return verdict{says: fmt.Sprintf("%s connections may come at once", number(v.arrivals()))}
				}
				said := verdict{severity: Hurts, wanted: atLeast(now, v.arrivals()), says: fmt.Sprintf(
					"a queue of some program was full %s times since boot, and %s connections were dropped", number(over), number(drops))}
				if said.wanted == "" {
					said.severity = Advice
					said.do = "start the gateway again if it is older than the setting; else it did not accept fast enough: rookery bench idle shows it"
				}
				return said
			},
		}, {
			Key:      "net.ipv4.tcp_syncookies",
			Reason:   "with cookies a full queue of half-open connections loses nothing: the kernel answers without keeping state",
			Cost:     "connections made by a cookie lose some options of TCP where the client sends no timestamps",
			Avoid:    "never on a public address",
			Computed: "1 if it is 0",
			Source:   docIP + ", TCP variables, tcp_syncookies",
			roles:    servers(),

			severity: Hurts,
			want: func(_ *view, now current) string {
				if now.Text == "0" {
					return "1"
				}
				return ""
			},
		}, {
			Key:      "net.ipv4.tcp_max_syn_backlog",
			Reason:   "without cookies no more half-open connections are kept than this; with cookies it hardly matters",
			Cost:     "300 bytes for each connection that is half open",
			Avoid:    "cookies are on: then it is left as it is",
			Computed: "as net.core.somaxconn, only where the kernel has no cookies",
			Source:   docIP + ", TCP variables, tcp_max_syn_backlog",
			roles:    servers(),

			severity: Hurts,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				if v.host.Sysctl("net.ipv4.tcp_syncookies").Err == nil {
					return "" // on, or apply turns them on
				}
				return atLeast(now, v.arrivals())
			},
			judge: func(v *view, _ current) verdict {
				dropped, cookies := v.counts["TcpExt.TCPReqQFullDrop"], v.counts["TcpExt.TCPReqQFullDoCookies"]
				if dropped > 0 {
					return verdict{severity: Hurts, says: fmt.Sprintf("%s connections were dropped since boot because too many were half open", number(dropped)),
						do: "turn on net.ipv4.tcp_syncookies"}
				}
				if cookies > 0 {
					return verdict{says: fmt.Sprintf("cookies were sent %s times since boot, nothing was lost", number(cookies))}
				}
				return verdict{}
			},
		}, {
			Key:      "net.core.netdev_max_backlog",
			Reason:   "packets that one processor hands to another (loopback, RPS, drivers without NAPI) wait in a queue of this length, and are dropped when it is full",
			Cost:     "up to this many packets in memory for each processor, and the time that they wait",
			Avoid:    "nothing was dropped and few messages go through: the default is enough",
			Computed: "the packets of 20 ms at the message rate, rounded up to a power of two, 16384 at most; 4096 at least where packets were dropped",
			Source:   docNet + ", netdev_max_backlog",

			severity: Advice,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				// What comes in 20 ms, in which a virtual machine's processor may be away.
				wanted := powerOfTwo(max(1000, int64(v.target.MessageRate)/50))
				// The count is from boot on: what was set because of it stays when the machine has booted.
				_, ours := v.before["/"+host.SysctlPath("net.core.netdev_max_backlog")]
				if dropped, _ := v.host.BacklogDrops(); dropped > 0 || ours {
					wanted = max(wanted, 4096)
				}
				if wanted == 1024 {
					return "" // the default but for a few
				}
				return atLeast(now, min(16384, wanted))
			},
			judge: func(v *view, now current) verdict {
				dropped, _ := v.host.BacklogDrops()
				if dropped == 0 {
					return verdict{}
				}
				said := verdict{severity: Hurts, says: number(dropped) + " packets were dropped since boot because it was full"}
				if now.Number(0) >= 4096 {
					said.severity, said.do = Advice, "if the number grows, spread the interrupts of the network card over the processors"
				}
				return said
			},
		},
	}
}
