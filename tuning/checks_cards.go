package tuning

import (
	"fmt"
	"slices"
	"strings"

	"rookery/tuning/host"
)

// flowEntries is the size of the table by which RFS finds the processor that reads a connection.
func (v *view) flowEntries() int64 {
	return min(65536, max(4096, powerOfTwo(int64(v.target.Connections)/16)))
}

const (
	flowKey  = "net.core.rps_sock_flow_entries"
	steerKey = "rps_cpus"
)

// steers says whether packets should be spread over processors by software: there is more than one, and a card has one queue
// only. With as many queues as processors the card does it better.
func (v *view) steers() bool {
	for _, c := range v.host.Cards {
		if c.Receive == 1 && c.Driver != "" && v.host.Processors > 1 {
			return true
		}
	}
	return false
}

func cardChecks() []Check {
	return []Check{
		{
			Key:      steerKey,
			Reason:   "a network card with one queue interrupts one processor, which then handles all packets of all connections; RPS spreads them",
			Cost:     "an interrupt between processors for each batch of packets",
			Avoid:    "the card has a queue for each processor, or one processor is enough for the packets: look at %soft in mpstat",
			Computed: "all processors, for each card with one queue, if nobody has set it",
			Source:   docScaling + ", RPS: Receive Packet Steering",

			severity: Advice,
			read: func(v *view) current {
				for _, c := range v.host.Cards {
					if c.Receive == 1 && c.Driver != "" {
						mask, err := v.host.Text(c.RPSFile(0))
						if err != nil {
							return missing(err)
						}
						return known("/"+c.RPSFile(0), "%s", mask)
					}
				}
				return known("no network card has one queue only", "not needed")
			},
			want: func(v *view, now current) string {
				if !v.steers() || strings.Trim(now.Text, "0,") != "" {
					return "" // who has set it has thought about it
				}
				return host.Mask(v.host.Processors, now.Text)
			},
		}, {
			Key:      flowKey,
			Reason:   "with RPS a packet should go to the processor whose event loop reads it, which RFS looks up in a table of this size",
			Cost:     "8 bytes for each entry",
			Avoid:    "RPS is not used",
			Computed: "a sixteenth of the connections, rounded up to a power of two, 4096 to 65536; the same for rps_flow_cnt of the card",
			Source:   docScaling + ", RFS: Receive Flow Steering",

			severity: Advice,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				if !v.steers() {
					return ""
				}
				return atLeast(now, v.flowEntries())
			},
		}, {
			Key:    "queues of the network card",
			Reason: "a card spreads connections over its queues, and so over processors: one for each is what it takes",
			Source: docScaling + ", RSS: Receive Side Scaling; XPS: Transmit Packet Steering",
			read: func(v *view) current {
				var all []string
				for _, c := range v.host.Cards {
					text := fmt.Sprintf("%s (%s): %d receive, %d transmit", c.Name, orNone(c.Driver), c.Receive, c.Transmit)
					if c.Assigned >= 0 {
						text += fmt.Sprintf(", %d of them with processors of their own", c.Assigned)
					}
					all = append(all, text)
				}
				if len(all) == 0 {
					return known("/sys/class/net", "none is seen")
				}
				return known("/sys/class/net", "%s", strings.Join(all, "; "))
			},
			judge: func(v *view, _ current) verdict {
				for _, c := range v.host.Cards {
					if c.Driver != "" && c.Receive > 1 && c.Receive < v.host.Processors/2 && !c.Steered {
						return verdict{severity: Advice, says: fmt.Sprintf("%s has %d queues for %d processors", c.Name, c.Receive, v.host.Processors),
							do: fmt.Sprintf("ethtool -l %s shows whether it can have more, ethtool -L %[1]s combined %d sets them", c.Name, v.host.Processors)}
					}
					if c.Driver != "" && c.Assigned == 0 && c.Transmit > 1 && c.Transmit >= v.host.Processors {
						return verdict{severity: Advice, says: "no transmit queue of " + c.Name + " has a processor of its own (XPS)",
							do: fmt.Sprintf("write the mask of one processor into each of /%s/queues/tx-0/xps_cpus and so on", c.Dir)}
					}
				}
				return verdict{}
			},
		}, {
			Key:    "interrupts of the network card",
			Reason: "several queues that all interrupt one processor are no better than one queue",
			Source: "Linux Documentation/core-api/irq/irq-affinity.rst; " + docScaling + ", RSS IRQ Configuration",
			read: func(v *view) current {
				for _, c := range v.host.Cards {
					if taken := v.host.Interrupts(c); len(taken) > 0 {
						return known("/proc/interrupts", "%s: %s on the processors", c.Name, words(taken...))
					}
				}
				return known("/proc/interrupts", "none is seen")
			},
			judge: func(v *view, _ current) verdict {
				for _, c := range v.host.Cards {
					taken := v.host.Interrupts(c)
					all := int64(0)
					for _, n := range taken {
						all += n
					}
					if c.Receive > 1 && len(taken) > 1 && all > 100000 && slices.Max(taken) > all*9/10 {
						return verdict{severity: Hurts, says: fmt.Sprintf("one processor took %s of %s interrupts of %s", number(slices.Max(taken)), number(all), c.Name),
							do: "run irqbalance, or spread them in /proc/irq/*/smp_affinity"}
					}
				}
				return verdict{}
			},
		}, {
			Key:    "rings of the network card",
			Reason: "packets that come while the processor is elsewhere wait in the card's ring, and are dropped when it is full",
			Source: "ethtool(8), -g and -G",
			read: func(v *view) current {
				for _, c := range v.host.Cards {
					if r, err := v.host.Ring(c.Name); err == nil && r.ReceiveMost > 0 {
						return known("ethtool -g "+c.Name, "%s: receive %d of %d, transmit %d of %d", c.Name, r.Receive, r.ReceiveMost, r.Transmit, r.TransmitMost)
					}
				}
				return known("ethtool -g", "not known")
			},
			judge: func(v *view, _ current) verdict {
				for _, c := range v.host.Cards {
					r, err := v.host.Ring(c.Name)
					missed, _ := v.host.Text(c.Dir + "/statistics/rx_missed_errors")
					if err == nil && r.Receive < r.ReceiveMost && missed != "" && missed != "0" {
						return verdict{severity: Hurts, says: fmt.Sprintf("%s has missed %s packets since boot, with a ring of %d", c.Name, missed, r.Receive),
							do: fmt.Sprintf("ethtool -G %s rx %d", c.Name, r.ReceiveMost)}
					}
				}
				return verdict{}
			},
		}, {
			Key:    "offloads of the network card",
			Reason: "merging and cutting of packets in large pieces saves most of the kernel's work for connections with much data; someone may have turned it off to look for a fault",
			Source: "Linux Documentation/networking/segmentation-offloads.rst",
			read: func(v *view) current {
				for _, c := range v.host.Cards {
					if o, err := v.host.Offloads(c.Name); err == nil {
						return known("ethtool -k "+c.Name, "%s: gro %s, tso %s, gso %s", c.Name, onOff(o.ReceiveMerging), onOff(o.SegmentationByCard), onOff(o.Segmentation))
					}
				}
				return known("ethtool -k", "not known")
			},
			judge: func(v *view, _ current) verdict {
				for _, c := range v.host.Cards {
					if o, err := v.host.Offloads(c.Name); err == nil && c.Driver != "" && !(o.ReceiveMerging && o.Segmentation) {
						return verdict{severity: Advice, says: "gro or gso of " + c.Name + " is off", do: fmt.Sprintf("ethtool -K %s gro on gso on", c.Name)}
					}
				}
				return verdict{}
			},
		},
	}
}

func orNone(driver string) string {
	if driver == "" {
		return "no device"
	}
	return driver
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
