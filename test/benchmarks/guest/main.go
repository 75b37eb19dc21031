//go:build linux

// Guest is the first process of the machine that the benchmarks measure in: it makes room for millions of sockets, if the machine is
// not to be as it is rented, then does what the host says. It knows nothing of what is measured.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"rookery/test/benchmarks/collecting"
	"rookery/test/benchmarks/control"
	"rookery/test/measure"
	"rookery/test/vm/channel"
	"rookery/test/vm/guest"
)

// descriptors is what a process may open: two million are needed at most, and twice that is a round number for the kernel.
const descriptors = 1 << 22

// settings are files below /proc/sys.
var settings = []struct{ name, value string }{
	{"fs/nr_open", strconv.Itoa(descriptors)},
	{"fs/file-max", "16777216"},
	{"fs/epoll/max_user_watches", "67108864"},
	{"net/core/somaxconn", "65535"},
	{"net/ipv4/tcp_max_syn_backlog", "65535"},
	{"net/ipv4/ip_local_port_range", "1024 65535"},
	// In pages, far over what idle sockets need: a limit that is met would end connections.
	{"net/ipv4/tcp_mem", "4194304 8388608 16777216"},
	{"net/ipv4/tcp_max_orphans", "1048576"},
	{"net/ipv4/tcp_max_tw_buckets", "2000000"},
	{"vm/overcommit_memory", "1"},
	// A machine that has lost a process is measured wrong: it must not go on.
	{"vm/panic_on_oom", "2"},
}

func main() {
	if collecting.Asked(os.Args) {
		collecting.Main(os.Stdout, os.Stderr)
	}
	guest.Main(os.Stdout, func(host *channel.Connection) error {
		if os.Getenv(control.AsRentedVariable) == "" {
			if err := makeRoom(); err != nil {
				return err
			}
		}
		return obey(host)
	})
}

// makeRoom has the kernel take millions of sockets.
func makeRoom() error {
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys", s.name), []byte(s.value), 0); err != nil {
			return fmt.Errorf("kernel setting: %w", err)
		}
	}
	return guest.LimitDescriptors(descriptors)
}

// obey answers orders until the host is gone.
func obey(host *channel.Connection) error {
	for {
		var o control.Order
		if err := host.Receive(&o); err != nil {
			return err
		}
		answer, begun, err := perform(o)
		answer.Number, answer.Kind = o.Number, control.Done
		if err != nil {
			answer.Kind, answer.Text = control.Failed, err.Error()
		}
		if err := host.Send(answer); err != nil {
			return err
		}
		if begun != nil {
			go begun.tellLoop(host) // not before the host knows its number
		}
	}
}

// perform does what an order says. A program that it begins says nothing before tellLoop.
func perform(o control.Order) (answer control.Event, begun *program, err error) {
	switch o.Kind {
	case control.Start:
		if begun, err = start(o); err == nil {
			answer.PID = begun.Process.Pid
		}
	case control.Interrupt:
		err = syscall.Kill(o.PID, syscall.SIGINT)
	case control.TakeOver:
		err = syscall.Kill(o.PID, syscall.SIGUSR2)
	case control.Read:
		var b []byte
		b, err = os.ReadFile(o.Path)
		answer.Text = string(b)
	case control.Collect:
		answer.Text, err = collecting.Run(o.Processor)
	case control.Children:
		answer.PIDs, err = children("/proc", o.PID)
	default:
		err = fmt.Errorf("unknown order %q", o.Kind)
	}
	return answer, begun, err
}

// program is one that runs.
type program struct {
	*exec.Cmd
	said *os.File
}

// start runs rookery.
func start(o control.Order) (*program, error) {
	if o.Descriptors > 0 {
		if err := guest.LimitDescriptors(o.Descriptors); err != nil {
			return nil, err
		}
	}
	p := &program{Cmd: exec.Command("/rookery", o.Args...)}
	p.Env = append([]string{"HOME=/"}, o.Environment...)
	said, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.said, p.Stdout, p.Stderr = said, out, out
	err = measure.OnProcessor(o.Processor, p.Start)
	out.Close()
	if err != nil {
		said.Close()
		return nil, err
	}
	return p, nil
}

// tellLoop tells what a program says line by line, and its end once all was told. A server that takes over from another one speaks by
// the same pipe, and under the other one's number: the end is that of the last of them. It ends with the program; that the host can't be
// told is seen by whoever sends it answers.
func (p *program) tellLoop(host *channel.Connection) {
	defer p.said.Close()
	for lines := bufio.NewReader(p.said); ; {
		line, err := lines.ReadString('\n')
		if line != "" {
			host.Send(control.Event{Kind: control.Said, PID: p.Process.Pid, Text: strings.TrimSuffix(line, "\n")})
		}
		if err != nil {
			break
		}
	}
	p.Wait() // its status is told
	host.Send(control.Event{Kind: control.Ended, PID: p.Process.Pid, Text: p.ProcessState.String()})
}

// children looks through all processes. A process that is gone meanwhile was none.
func children(proc string, parent int) ([]int, error) {
	paths, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return nil, err
	}
	var found []int
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// "7 (name with ) and blanks) S 1 …": the parent is the second field after the name.
		stat := string(b)
		name := strings.LastIndexByte(stat, ')')
		fields := strings.Fields(stat[name+1:])
		if name < 0 || len(fields) < 2 {
			return nil, fmt.Errorf("%s: %w", path, io.ErrUnexpectedEOF)
		}
		if fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		found = append(found, pid)
	}
	return found, nil
}
