package tuning

import "fmt"

const (
	bucketsKey         = "net.netfilter.nf_conntrack_buckets"
	establishedKey     = "net.netfilter.nf_conntrack_tcp_timeout_established"
	establishedSeconds = 86400
	// trackedBytes is an entry of the table and its share of the buckets.
	trackedBytes = 400
)

// tracked is how many connections the tracker has beside those of the gateway, and whether it is at work at all.
func (v *view) tracked() (others int64, works bool) {
	count := v.host.Sysctl("net.netfilter.nf_conntrack_count").Number(0)
	others = count
	if g := v.host.Gateway; g != nil {
		others -= int64(max(0, g.Open)) * v.target.Role.entries()
	}
	return max(0, others), count > 0
}

// trackedWanted is the size of the table: half of the connections more for those that left a moment ago, and room for others, rounded so
// that it is the same tomorrow.
func (v *view) trackedWanted() int64 {
	others, works := v.tracked()
	if !works {
		return 0
	}
	return (int64(v.target.Connections)*v.target.Role.entries()*3/2 + max(1, (others+4095)/4096)*4096 + 4095) / 4096 * 4096
}

func conntrackChecks() []Check {
	const avoid = "nothing needs tracking: take the gateway's port out of it instead, with rules that say notrack for it in both directions (nft: type filter hook prerouting priority raw; tcp dport 8080 notrack, and hook output with tcp sport), which also saves the time. Then rules that ask for the state of a connection must let its port through"
	return []Check{
		{
			Key:      "net.netfilter.nf_conntrack_max",
			Reason:   "where a firewall or NAT tracks connections, each is an entry of a table, and packets of new ones are dropped when it is full",
			Cost:     fmt.Sprintf("about %d bytes of kernel memory for each entry that is used", trackedBytes),
			Avoid:    avoid,
			Computed: "one and a half times the connections, twice that with a proxy on the machine, and room for those of others; only where the table is in use",
			Source:   docConntrack + ", nf_conntrack_max",
			Instead:  "take the gateway's port out of the tracker, by rules that say notrack: rookery tune explain net.netfilter.nf_conntrack_max has them",

			module:   "nf_conntrack",
			severity: Stops,
			rule:     Rule{Kind: Least},
			want:     func(v *view, now current) string { return atLeast(now, v.trackedWanted()) },
			at: func(v *view, now current) int {
				others, _ := v.tracked()
				return int((now.Number(0) - others) / v.target.Role.entries())
			},
			judge: func(v *view, now current) verdict {
				if _, works := v.tracked(); !works {
					return verdict{says: "the table is empty: connections are not tracked here"}
				}
				if v.trackedWanted() > now.Number(0) {
					others, _ := v.tracked()
					n := int64(v.target.Connections)*v.target.Role.entries() + others
					if n <= now.Number(0) {
						return verdict{severity: Hurts, says: fmt.Sprintf("%s of %s entries would be used, without room for connections that have just closed", number(n), number(now.Number(0)))}
					}
				}
				return verdict{}
			},
		}, {
			Key:      bucketsKey,
			Reason:   "the table is searched for every packet, and with many entries in a bucket each search takes longer",
			Cost:     "8 bytes for each bucket",
			Avoid:    avoid,
			Computed: "a quarter of the table, rounded up to a power of two",
			Source:   docConntrack + ", nf_conntrack_buckets",

			module:   "nf_conntrack",
			severity: Advice,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				// Four entries in a bucket; a bucket for each would be memory for little.
				return atLeast(now, powerOfTwo(v.trackedWanted()/4))
			},
		}, {
			Key:      establishedKey,
			Reason:   "a connection whose end was not seen stays in the table for this long, five days by default; heartbeats keep those that live",
			Cost:     "a connection of another program that is silent for longer is forgotten, and a firewall may then drop its packets",
			Avoid:    "other programs of the machine hold connections that are silent for a day",
			Computed: "a day, if it is more",
			Source:   docConntrack + ", nf_conntrack_tcp_timeout_established",

			module:   "nf_conntrack",
			severity: Advice,
			rule:     Rule{Kind: Most},
			want: func(v *view, now current) string {
				if _, works := v.tracked(); !works || now.Number(0) <= establishedSeconds {
					return ""
				}
				return fmt.Sprint(establishedSeconds)
			},
		},
	}
}
