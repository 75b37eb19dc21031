//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"rookery/test/measure"
	"rookery/test/vm"
)

// figure is what connections of one setting cost.
type figure struct {
	Setting   string
	Few, Many int     // connections: memory is what it rose by between them, for each
	InKernel  int     // of those that came between, whose records are the kernel's
	Heap      float64 // bytes of live memory of the server
	Resident  float64 // bytes of its resident memory, without the pages of the program
	Slab      float64 // bytes of the kernel's slabs, with those of the client's end
}

type setting struct {
	name, flag string
	secure     bool
}

func (s setting) inKernel() bool { return s.secure && s.flag == "auto" }

// settings are measured one after the other.
var settings = []setting{
	{"plain", "auto", false},
	{"TLS, records in the process", "off", true},
	{"TLS, records in the kernel", "auto", true},
}

const plainAddress, secureAddress, adminAddress = "127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:9090"

// memory is what connections take, in each setting.
func memory(connections int, say func(string)) (figures []figure, err error) {
	err = inEach(say, func(m *measured, s setting) error {
		f := figure{Setting: s.name, Few: connections / 5, Many: connections}
		if err := m.rise(&f); err != nil {
			return err
		}
		if between := f.Many - f.Few; s.inKernel() != (f.InKernel == between) || !s.inKernel() && f.InKernel > 0 {
			return fmt.Errorf("the kernel has the records of %d connections of %d", f.InKernel, between)
		}
		figures = append(figures, f)
		return nil
	})
	return figures, err
}

// deliveries are the instructions for one, in each setting; the machine's clock counts them.
func deliveries(listeners int, say func(string)) (each []float64, err error) {
	err = inEach(say, func(m *measured, s setting) error {
		n, err := m.delivery(listeners)
		each = append(each, n)
		return err
	})
	return each, err
}

// inEach has a server of its own for each setting.
func inEach(say func(string), do func(m *measured, s setting) error) error {
	certificate, key, err := measure.Certify("/tmp")
	if err != nil {
		return err
	}
	for i, s := range settings {
		say("== measure " + s.name)
		m := &measured{say: say, data: filepath.Join("/tmp", "data-"+strconv.Itoa(i)), address: plainAddress}
		if s.secure {
			m.address, m.config = secureAddress, &tls.Config{InsecureSkipVerify: true}
		}
		err := m.start("--tls.listen", secureAddress, "--tls.cert-files", certificate, "--tls.key-files", key, "--tls.kernel", s.flag)
		if err == nil {
			err = do(m, s)
		}
		m.stop()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// measured is a server with a crowd.
type measured struct {
	data    string
	say     func(line string)
	address string
	config  *tls.Config // nil: plain
	command *exec.Cmd
	// gaveBackAt is with how many connections the server gave memory back last, which it does some ten seconds after a wave has come, and says.
	gaveBackAt atomic.Int64
	crowd      crowd
}

func (m *measured) start(flags ...string) error {
	m.command = exec.Command("/"+server, append([]string{
		"serve", "--dev", "--logging.level", "debug", "--listen", plainAddress, "--admin", adminAddress, "--data", m.data, "--heartbeat", "24h", "--log.segment-bytes", "2MiB",
		"--limits.connections-per-ip", "0", "--limits.connections-per-user", "0", "--limits.handshake-timeout", "1m",
	}, flags...)...)
	log, err := m.command.StderrPipe()
	if err != nil {
		return err
	}
	if err := m.command.Start(); err != nil {
		return err
	}
	go m.readLoop(log)
	for deadline := time.Now().Add(patience); ; {
		if _, err = ask("/readyz"); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server is not ready: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (m *measured) stop() {
	m.crowd.leave()
	if m.command.Process == nil {
		return
	}
	m.command.Process.Kill()
	m.command.Wait() // it was killed
	os.RemoveAll(m.data)
}

// rise is of memory from few connections to many: what a server needs once, and what it keeps for as many as come at a time, is there with the few already.
func (m *measured) rise(f *figure) error {
	first, err := m.memoryOf(f.Few)
	if err != nil {
		return err
	}
	last, err := m.memoryOf(f.Many)
	if err != nil {
		return err
	}
	each := func(first, last float64) float64 { return (last - first) / float64(f.Many-f.Few) }
	f.InKernel = int(last.inKernel - first.inKernel)
	f.Heap, f.Resident, f.Slab = each(first.heap, last.heap), each(first.resident, last.resident), each(first.slab, last.slab)
	return nil
}

// delivery is how many instructions of the server, and of the kernel on its behalf, it takes to deliver a message to one of so many.
func (m *measured) delivery(listeners int) (instructions float64, err error) {
	if err := m.crowd.grow(listeners+1, m.address, m.config); err != nil {
		return 0, err
	}
	if err := m.crowd.join(); err != nil {
		return 0, err
	}
	began, err := m.processorTime()
	if err != nil {
		return 0, err
	}
	if err := m.crowd.deliver(); err != nil {
		return 0, err
	}
	ended, err := m.processorTime()
	instructions = float64(ended-began) / vm.NanosecondsAnInstruction / float64(messages*listeners)
	m.say(fmt.Sprintf("%d deliveries in %s, %.0f instructions each", messages*listeners, ended-began, instructions))
	return instructions, err
}

var gaveBack = regexp.MustCompile(`gave back memory.* open=(\d+)`)

// readLoop reads the log of the server. Started by start, it ends with the server.
func (m *measured) readLoop(log io.Reader) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if found := gaveBack.FindStringSubmatch(lines.Text()); found != nil {
			open, _ := strconv.Atoi(found[1]) // digits
			m.gaveBackAt.Store(int64(open))
		}
	}
}

// memoryOf is what is held with so many connections, when what they needed to come was given back.
func (m *measured) memoryOf(connections int) (s state, err error) {
	if err := m.crowd.grow(connections-len(m.crowd), m.address, m.config); err != nil {
		return s, err
	}
	for deadline := time.Now().Add(patience); m.gaveBackAt.Load() != int64(connections); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			return s, fmt.Errorf("the server has not given memory back with %d connections there; the machine stood still while they came: run it again", connections)
		}
	}
	return m.memory()
}

// resident is without the pages of the program itself, of which some are read now and some later.
func (m *measured) resident() (int64, error) {
	return measure.Kibibytes(fmt.Sprintf("/proc/%d/status", m.command.Process.Pid), "RssAnon")
}

// state is what memory is held at one moment.
type state struct{ heap, resident, slab, inKernel float64 }

// memory looks at it. What is live shows behind a collection of garbage only.
func (m *measured) memory() (s state, err error) {
	resident, err := m.resident()
	if err != nil {
		return s, err
	}
	slab, err := measure.Kibibytes("/proc/meminfo", "Slab")
	if err != nil {
		return s, err
	}
	s.resident, s.slab = float64(resident), float64(slab)
	profile, err := ask("/debug/pprof/heap?debug=1&gc=1")
	if err != nil {
		return s, err
	}
	if s.heap, err = number(profile, "# HeapAlloc = "); err != nil {
		return s, err
	}
	metrics, err := ask("/metrics")
	if err != nil {
		return s, err
	}
	if s.inKernel, err = number(metrics, "\nrookery_tls_kernel_connections_total "); err != nil {
		return s, err
	}
	line := fmt.Sprintf("%d connections: resident %d, slabs %d", len(m.crowd), resident, slab)
	for _, of := range []string{"HeapAlloc", "HeapInuse", "HeapSys", "HeapReleased", "Stack", "MSpan", "GCSys", "OtherSys", "NumGC"} {
		_, rest, _ := strings.Cut(profile, "# "+of+" = ")
		value, _, _ := strings.Cut(rest, "\n")
		line += ", " + of + " " + value
	}
	m.say(line)
	return s, nil
}

// processorTime is that of the server so far, with the kernel's for it, in steps of ten milliseconds. What of it is the kernel's is guessed by a tick of
// the same clock, and not asked.
func (m *measured) processorTime() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	const user, system, tick = 11, 12, 10 * time.Millisecond // behind the name, which may hold anything
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has too few fields: %s", m.command.Process.Pid, b)
	}
	u, err1 := strconv.Atoi(fields[user])
	s, err2 := strconv.Atoi(fields[system])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat has no times: %s", m.command.Process.Pid, b)
	}
	return time.Duration(u+s) * tick, nil
}

// number gives what stands behind a text.
func number(in, behind string) (float64, error) {
	_, rest, found := strings.Cut(in, behind)
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if !found || err != nil {
		return 0, fmt.Errorf("the server does not say %q", strings.TrimSpace(behind))
	}
	return n, nil
}

// ask asks the admin listener.
func ask(path string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Get("http://" + adminAddress + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return string(body), err
}
