package vm

import (
	"fmt"
	"net/netip"

	"rookery/test/vm/channel"
)

// Link is one end of a cable between two machines, which is the second network card of both. What they say to each other takes the
// host no descriptors, unlike what a machine says to the host.
type Link struct {
	// Socket is the path of a Unix socket, the same for both ends.
	Socket string
	// Listens is true for the machine that boots first.
	Listens bool
	// Address is the machine's own, with the network that is on the cable.
	Address netip.Prefix
	// Sources are more of its addresses in that network, all of the range; the zero Prefix is none.
	Sources netip.Prefix
}

// arguments are QEMU's for the card.
func (l *Link) arguments() []string {
	server := "off"
	if l.Listens {
		server = "on"
	}
	return []string{
		"-netdev", fmt.Sprintf("stream,id=link,server=%s,addr.type=unix,addr.path=%s", server, l.Socket),
		"-device", "virtio-net-pci,netdev=link,romfile=",
	}
}

// parameter tells the kernel, which tells package guest.
func (l *Link) parameter() string {
	text := l.Address.String()
	if l.Sources.IsValid() {
		text += "," + l.Sources.String()
	}
	return channel.LinkVariable + "=" + text
}
