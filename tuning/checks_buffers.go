package tuning

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// sendMost bounds what the kernel takes for one consumer that is slow: over a way of 100 ms still a few MB/s.
	sendMost = 512 << 10
	// lowWater is how much unsent data a socket takes before it counts as full.
	lowWater = 128 << 10
	// manyConnections is from where on the largest buffers of a few can take all the memory for buffers.
	manyConnections = 10000
)

func bufferChecks() []Check {
	return []Check{
		{
			Key:      "net.ipv4.tcp_wmem",
			Reason:   "a consumer that is slow holds up to the third number of bytes in the kernel; the second is only where autotuning begins, and takes no memory before there is data",
			Cost:     "catching up over a long way is slower: at 512 KiB and 100 ms a few MB/s for each connection",
			Avoid:    "the machine also sends large files to few far clients",
			Computed: "the third number becomes 524288 where it is more, from 10,000 connections on",
			Source:   docIP + ", TCP variables, tcp_wmem",
			roles:    servers(),

			severity: Advice,
			rule:     Rule{Most, 2},
			want: func(v *view, now current) string {
				n := now.Numbers()
				if len(n) != 3 || v.target.Connections < manyConnections || n[2] <= sendMost {
					return ""
				}
				return words(min(n[0], sendMost), min(n[1], sendMost), sendMost)
			},
		}, {
			Key:    "net.ipv4.tcp_rmem",
			Reason: "the gateway reads at once, so its receive buffers are empty; a second number that is large lets each peer send that much before the gateway can say no",
			Source: docIP + ", TCP variables, tcp_rmem",
			judge: func(v *view, now current) verdict {
				const most = 1 << 20
				if n := now.Numbers(); len(n) != 3 || n[1] <= most {
					return verdict{}
				}
				return verdict{severity: Hurts, wanted: "4096 131072 6291456", says: fmt.Sprintf("each connection begins with %s, by which the buffers of %s fill all memory for buffers",
					size(now.Number(1)), number(v.host.Sysctl("net.ipv4.tcp_mem").Number(2)*v.host.PageSize()/now.Number(1))),
					do: "set the kernel's default, 4096 131072 6291456: autotuning does the rest"}
			},
		}, {
			Key:      "net.ipv4.tcp_notsent_lowat",
			Reason:   "a socket counts as full when this much is unsent, so that what waits for a slow consumer stays in the gateway, which gathers it or reads it from the log later, and not in the kernel",
			Cost:     "a few more wake-ups for consumers that are slow",
			Avoid:    "the machine also sends large files to far clients",
			Computed: "131072, if it is more",
			Source:   docIP + ", TCP variables, tcp_notsent_lowat",
			roles:    servers(),

			severity: Advice,
			rule:     Rule{Kind: Most},
			want: func(v *view, now current) string {
				if now.Number(0) <= lowWater && now.Number(0) > 0 {
					return ""
				}
				return fmt.Sprint(lowWater)
			},
		}, {
			Key:    "net.ipv4.tcp_congestion_control",
			Reason: "messages are smaller than the first window, so that it hardly matters to them; on links that lose packets bbr catches up faster than cubic",
			Source: docIP + ", TCP variables, tcp_congestion_control",
			judge: func(v *view, now current) verdict {
				there, _ := v.host.Text("proc/sys/net/ipv4/tcp_available_congestion_control")
				if now.Text == "cubic" || strings.HasPrefix(now.Text, "bbr") {
					return verdict{says: "there are " + there}
				}
				return verdict{severity: Advice, wanted: "cubic", says: "it is for other networks than the Internet", do: "set net.ipv4.tcp_congestion_control=cubic"}
			},
		}, {
			Key:    "net.core.default_qdisc",
			Reason: "a fair queue keeps a connection with much data from delaying all others; fq_codel and fq do, pfifo_fast does not",
			Source: docNet + ", default_qdisc",
			judge: func(_ *view, now current) verdict {
				if slices.Contains([]string{"fq_codel", "fq", "cake", "fq_pie"}, now.Text) {
					return verdict{}
				}
				return verdict{severity: Advice, wanted: "fq_codel", do: "set net.core.default_qdisc=fq_codel; it counts for cards that come up later"}
			},
		},
	}
}
