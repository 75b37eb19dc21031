package host

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Card is a network interface that is up and is not loopback.
type Card struct {
	Name   string
	Driver string // "" for one without a device: a pair of a container, a bridge
	Dir    string // in /sys, without the first slash
	// Receive and Transmit are its queues.
	Receive, Transmit int
	// Assigned are the transmit queues that have processors of their own (XPS); -1: the card does not say.
	Assigned int
	// Steered says whether receive queues are spread over processors by software (RPS).
	Steered bool
}

// RPSFile is the file of the mask of a receive queue.
func (c Card) RPSFile(queue int) string { return fmt.Sprintf("%s/queues/rx-%d/rps_cpus", c.Dir, queue) }

// FlowFile is the file of the number of flows of a receive queue.
func (c Card) FlowFile(queue int) string {
	return fmt.Sprintf("%s/queues/rx-%d/rps_flow_cnt", c.Dir, queue)
}

func readCards(h *Host) []Card {
	entries, err := fs.ReadDir(h.root, "sys/class/net")
	if err != nil {
		return nil
	}
	var cards []Card
	for _, entry := range entries {
		c := Card{Name: entry.Name(), Dir: "sys/class/net/" + entry.Name(), Assigned: -1}
		if state := h.text(c.Dir + "/operstate"); c.Name == "lo" || state == "down" || state == "" {
			continue
		}
		if driver, err := fs.ReadLink(h.root, c.Dir+"/device/driver"); err == nil {
			c.Driver = path.Base(driver)
		}
		queues, _ := fs.ReadDir(h.root, c.Dir+"/queues")
		for _, q := range queues {
			switch {
			case strings.HasPrefix(q.Name(), "rx-"):
				c.Receive++
				mask := h.text(c.Dir + "/queues/" + q.Name() + "/rps_cpus")
				c.Steered = c.Steered || strings.Trim(mask, "0,") != ""
			case strings.HasPrefix(q.Name(), "tx-"):
				c.Transmit++
				if mask, err := h.Text(c.Dir + "/queues/" + q.Name() + "/xps_cpus"); err == nil { // a card with one queue has none
					c.Assigned = max(0, c.Assigned)
					if strings.Trim(mask, "0,") != "" {
						c.Assigned++
					}
				}
			}
		}
		cards = append(cards, c)
	}
	slices.SortFunc(cards, func(a, b Card) int { return cmp.Compare(a.Name, b.Name) })
	return cards
}

// Mask is the mask of the first processors, in the form in which the kernel shows masks on this machine: as many digits, and commas
// at the same places, so that it reads again as it was written.
func Mask(processors int, like string) string {
	mask := []byte(like)
	for i := len(mask) - 1; i >= 0; i-- {
		if mask[i] == ',' {
			continue
		}
		bits := min(4, max(0, processors))
		mask[i] = "0137f"[bits]
		processors -= 4
	}
	return string(mask)
}

// Interrupts is how many interrupts of a card each processor has taken; nil where its lines are not found. Those of virtio bear the
// name of the device, not of the card; only those of a card have a number behind "-input".
func (h *Host) Interrupts(c Card) []int64 {
	var taken []int64
	for line := range strings.Lines(h.text("proc/interrupts")) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		name := f[len(f)-1]
		ours := strings.Contains(name, c.Name) ||
			c.Driver == "virtio_net" && strings.HasPrefix(name, "virtio") && strings.Contains(name, "-input.")
		if !ours {
			continue
		}
		for i, field := range f[1:] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				break
			}
			if i == len(taken) {
				taken = append(taken, 0)
			}
			taken[i] += n
		}
	}
	return taken
}

// Ring is how many packets the rings of a card hold and could hold.
type Ring struct{ Receive, ReceiveMost, Transmit, TransmitMost int64 }

// Offloads is work that the card, or the kernel in large pieces, does for each packet.
type Offloads struct{ ReceiveMerging, SegmentationByCard, Segmentation bool }

// Ring asks for the rings of a card.
func (h *Host) Ring(card string) (Ring, error) {
	if h.probes.Ring == nil {
		return Ring{}, errNotAsked
	}
	return h.probes.Ring(card)
}

// Offloads asks what a card does by itself.
func (h *Host) Offloads(card string) (Offloads, error) {
	if h.probes.Offloads == nil {
		return Offloads{}, errNotAsked
	}
	return h.probes.Offloads(card)
}
