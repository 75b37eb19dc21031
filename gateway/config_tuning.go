package gateway

import (
	"net"
	"strconv"
)

// Needs are what a machine has to be set up for, by a configuration file.
type Needs struct {
	Port     int  // of listen; 0: the kernel's choice, or a name
	TLS      bool // there is tls.listen
	Socket   bool // there is proxy.socket
	Webhooks int  // webhooks.concurrency; 0: nobody is asked
}

// ReadNeeds reads them from a file's text, for a tuner. Nothing else is looked at: it may run as another user than the server, where the
// files that settings name can't be read. What variables and flags set it does not see.
func ReadNeeds(name string, text []byte) (Needs, error) {
	var faults faultList
	known := settings()
	file := parseFile(name, text, known, &faults, func(reason string) layer {
		faults.addText(reason)
		return layer{}
	})
	c := DefaultConfig()
	for _, s := range known {
		switch g, given := file[s.name]; s.name {
		case "listen", "tls.listen", "proxy.socket", "webhooks.url", "webhooks.concurrency":
			if !given {
				continue
			}
			if err := s.assign(&c, g); err != nil {
				faults.add(s, g.from, g.texts[0], err.Error())
			}
		}
	}
	if err := faults.join(); err != nil {
		return Needs{}, err
	}
	needs := Needs{TLS: c.TLS.Listen != "", Socket: c.Proxy.Socket != ""}
	if _, port, err := net.SplitHostPort(c.Listen); err == nil {
		needs.Port, _ = strconv.Atoi(port)
	}
	if c.Webhooks.URL != "" {
		needs.Webhooks = c.Webhooks.Concurrency
	}
	return needs, nil
}
