package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"rookery/test/vm/channel"
)

// guestWord is the word by which this program knows that it is the service of a virtual machine.
const guestWord = "guest"

// order is what the host tells the machine.
type order struct {
	Connections, Rate int
	Record            string // instead of the play: give a tree of the machine, with this comment
}

// said is what the machine tells the host: lines, and in the end the figures, a tree or a fault; or that it boots.
type said struct {
	Line    string   `json:",omitempty"`
	Figures *figures `json:",omitempty"`
	Tree    []byte   `json:",omitempty"`
	Boots   bool     `json:",omitempty"`
	Fault   string   `json:",omitempty"`
}

// workInMachine is on the disk of the machine.
const workInMachine = "/var/lib/play"

// serveHost does in the machine what the host says.
func serveHost(ctx context.Context) error {
	conn, err := dialHost()
	if err != nil {
		return err
	}
	defer conn.Close()
	host := channel.New(conn)
	var o order
	if err := host.Receive(&o); err != nil {
		return err
	}
	answer, err := obey(ctx, o, lines{host})
	if err != nil {
		answer = said{Fault: err.Error()}
	}
	if err := host.Send(answer); err != nil {
		return err
	}
	if answer.Boots {
		return all(exec.Command("systemctl", "--no-block", "reboot"))
	}
	var never order
	return host.Receive(&never) // until the host turns the machine off
}

func obey(ctx context.Context, o order, out io.Writer) (said, error) {
	if err := os.MkdirAll(workInMachine, 0o755); err != nil {
		return said{}, err
	}
	p := &play{stage: debian{}, binary: "/usr/local/bin/rookery", work: workInMachine, connections: o.Connections, rate: o.Rate, out: out}
	if o.Record != "" {
		return recordMachine(ctx, p, o.Record)
	}
	switch err := p.run(ctx); {
	case errors.Is(err, errBoots):
		return said{Boots: true}, nil
	case err != nil:
		return said{}, err
	}
	return said{Figures: &p.memory.Figures}, nil
}

// recordMachine gives a tree of the machine with a running gateway.
func recordMachine(ctx context.Context, p *play, comment string) (said, error) {
	if err := p.stage.settle(p.work); err != nil {
		return said{}, err
	}
	if _, err := os.Stat(unitFile); errors.Is(err, os.ErrNotExist) {
		unit := "[Unit]\nDescription=Rookery\n\n[Service]\nExecStart=/usr/local/bin/rookery serve --dev --listen 127.0.0.1:8080 --data /var/lib/rookery\n"
		if err := os.WriteFile(unitFile, []byte(unit), 0o644); err != nil {
			return said{}, err
		}
	}
	if err := all(exec.Command("systemctl", "daemon-reload")); err != nil {
		return said{}, err
	}
	if _, err := p.startGateway(ctx); err != nil {
		return said{}, err
	}
	var b bytes.Buffer
	err := record(os.DirFS("/"), comment, &b)
	return said{Tree: b.Bytes()}, err
}

// dialHost reaches the host, whose address is a word of the kernel's command line.
func dialHost() (net.Conn, error) {
	words, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(string(words)) {
		if address, found := strings.CutPrefix(word, channel.AddressVariable+"="); found {
			return net.DialTimeout("tcp", address, time.Minute)
		}
	}
	return nil, fmt.Errorf("the kernel's command line has no %s", channel.AddressVariable)
}

// lines sends what is written.
type lines struct{ host *channel.Connection }

func (l lines) Write(b []byte) (int, error) {
	return len(b), l.host.Send(said{Line: strings.TrimSuffix(string(b), "\n")})
}
