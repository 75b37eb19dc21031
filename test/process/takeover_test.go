package process

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"rookery/test/ledger"
)

// dynasty is a server, and those that take over from it. They write one log.
type dynasty struct {
	*server
	reigns int // process id
	served int
}

// succeed has the next process take over, and waits until it serves.
func (d *dynasty) succeed(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(d.reigns, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	d.served++
	eventually(t, fmt.Sprintf("server %d serves", d.served), func() bool { return strings.Count(d.log(), "msg=serving") == d.served })
	started := startedLine.FindAllStringSubmatch(d.log(), -1)
	d.reigns, _ = strconv.Atoi(started[len(started)-1][1])
}

var startedLine = regexp.MustCompile(`started a process that takes over.* process=(\d+)`)

func found(t *testing.T, l launch) *dynasty {
	t.Helper()
	d := &dynasty{server: start(t, l), served: 1}
	d.reigns = d.pid()
	t.Cleanup(func() { syscall.Kill(d.reigns, syscall.SIGKILL) }) // an error means that it has ended
	return d
}

// copied is a program of its own, that a test can put another in the place of.
func copied(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "rookery")
	writeProgram(t, name, text)
	return name
}

// writeProgram writes a program that can be run at once. A process that another test starts meanwhile would have the file open for writing
// between its fork and its exec, and a program that somebody writes to can't be run ("text file busy", Go issue 22315). So nobody forks
// while it is open.
func writeProgram(t *testing.T, name string, text []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(name, text, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAProgramRunsAsSoonAsItIsWritten: while other tests start processes.
func TestAProgramRunsAsSoonAsItIsWritten(t *testing.T) {
	stop := make(chan struct{})
	var forking sync.WaitGroup
	defer forking.Wait()
	defer close(stop)
	for range 4 {
		forking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	text, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, make([]byte, 4<<20)...) // it takes a while to write
	for i := range 12 {
		name := filepath.Join(t.TempDir(), fmt.Sprint(i))
		writeProgram(t, name, text)
		if err := exec.Command(name).Run(); err != nil {
			t.Fatalf("program %d: %v", i, err)
		}
	}
}

// TestTakeoversLoseNothing: processes take over from each other twenty times while writers publish, and readers read on connections that
// last the whole time; one reader takes so little that there is always something half written. Meanwhile clients come and go, and none
// is reset.
func TestTakeoversLoseNothing(t *testing.T) { takeOver(t, plainBinary, 20) }

// TestTakeoverWithoutRaces is the same with the race detector, and fewer times.
func TestTakeoverWithoutRaces(t *testing.T) { takeOver(t, raceBinary, 2) }

func takeOver(t *testing.T, program string, times int) {
	t.Parallel()
	d := found(t, launch{data: t.TempDir(), binary: program})
	rooms := []string{"room-0", "room-1", "room-2"}
	l := ledger.New(contentOf)
	stop := make(chan struct{})
	var writers, others sync.WaitGroup
	stopAll := sync.OnceFunc(func() { close(stop); writers.Wait() })
	t.Cleanup(func() { stopAll(); others.Wait() })
	t.Cleanup(func() { syscall.Kill(d.reigns, syscall.SIGKILL) }) // before all waits: a test that failed ends
	open := func(by transport, name string, buffer int) *peer {
		p, err := loginWithBuffer(d.address, by, name, buffer)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.conn.Close() })
		return p
	}
	for i := range 6 {
		name, buffer := fmt.Sprintf("reader-%d", i), 0
		if i == 0 {
			buffer = 4 << 10
		}
		r := newReader(l, nil, rand.New(rand.NewPCG(uint64(i), 0)), transports[i%2], name, rooms, i == 0)
		p := open(r.by, name, buffer)
		others.Go(func() {
			if err := r.session(p); err != nil {
				l.Fault("%s: %v", name, err)
			}
		})
	}
	for i := range 4 {
		w := &writer{ledger: l, random: rand.New(rand.NewPCG(uint64(i), 1)), by: transports[i%2], user: fmt.Sprintf("writer-%d", i), rooms: rooms}
		p := open(w.by, w.user, 0)
		writers.Go(func() {
			if err := w.session(p, stop); err != nil {
				l.Fault("%s: %v", w.user, err)
			}
		})
	}
	var came atomic.Int64
	writers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, err := login(d.address, transports[came.Load()%2], "guest")
			if err != nil {
				l.Fault("guest %d was refused: %v", came.Load(), err)
				return
			}
			p.conn.Close()
			came.Add(1)
		}
	})
	for range times {
		before, guests := l.Totals().Acknowledged, came.Load()
		d.succeed(t)
		eventually(t, "publishes go on, and guests come", func() bool {
			return l.Totals().Acknowledged > before+10 && came.Load() > guests || l.Verdict() != ""
		})
	}
	stopAll()
	p := open(rawTCP, "auditor", 0)
	for _, room := range rooms {
		pub := l.Publish(room, "auditor", lastKey(room))
		reply, err := p.ask(publishRequest(room, pub.Key, contentOf(pub.Key)))
		if err != nil {
			t.Fatal(err)
		}
		l.Acknowledge(pub, reply.GetPublished())
	}
	others.Wait()
	for _, room := range rooms {
		a := l.Audit(room, 0)
		if err := p.history(room, 0, a.Message); err != nil {
			t.Fatal(err)
		}
		a.End()
	}
	t.Logf("%d takeovers, %d guests; %s", times, came.Load(), l.Summary())
	if faults := l.Verdict(); faults != "" {
		t.Error(faults)
	}
}

// TestTakeoverByAProgramThatFails: whatever the program is that is there now, the server goes on, and the next one takes over.
func TestTakeoverByAProgramThatFails(t *testing.T) {
	t.Parallel()
	program := copied(t, plainBinary)
	d := found(t, launch{data: t.TempDir(), binary: program})
	p, err := login(d.address, webSocket, "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := p.enter("hall"); err != nil {
		t.Fatal(err)
	}
	good := program + ".good"
	if err := os.Rename(program, good); err != nil {
		t.Fatal(err)
	}
	for i, script := range []string{"", "#!/bin/sh\nexit 1\n", "#!/bin/sh\nexec " + good + " \"$@\" --listen 127.0.0.1:1\n", "#!/bin/sh\nexec " + good + " \"$@\" --no.such.setting 1\n"} {
		if script != "" {
			writeProgram(t, program, []byte(script))
		}
		if err := d.signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the failure is logged", func() bool {
			return strings.Count(d.log(), "no process can be started that takes over")+strings.Count(d.log(), "that was to take over has ended") == i+1
		})
		if _, err := p.ask(joinRequest(fmt.Sprintf("room-%d", i), nil, "")); err != nil {
			t.Fatalf("after a program that fails: %v", err)
		}
		os.Remove(program) // there may be none
	}
	if err := os.Rename(good, program); err != nil {
		t.Fatal(err)
	}
	d.succeed(t)
	pub, err := p.send(publishRequest("hall", "k", "still here"))
	if err != nil {
		t.Fatal(err)
	}
	for told := 0; told < 2; told++ {
		f, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.GetPublished() == nil && f.GetMessage() == nil || f.GetPublished() != nil && f.Id != pub {
			t.Errorf("after a takeover came %v", f)
		}
	}
}

// TestSignalsAmidATakeoverGoOn: what comes for the old process once the new one may have read its settings is acted on by the new one.
func TestSignalsAmidATakeoverGoOn(t *testing.T) {
	t.Parallel()
	program := copied(t, plainBinary)
	d := found(t, launch{data: t.TempDir(), binary: program})
	t.Cleanup(func() {
		for _, started := range startedLine.FindAllStringSubmatch(d.log(), -1) {
			process, _ := strconv.Atoi(started[1])
			syscall.Kill(process, syscall.SIGKILL) // an error means that it has ended
		}
	})
	good, begin := program+".good", program+".begin"
	if err := os.Rename(program, good); err != nil {
		t.Fatal(err)
	}
	writeProgram(t, program, []byte("#!/bin/sh\nwhile [ ! -e "+begin+" ]; do sleep 0.01; done\nexec "+good+" \"$@\"\n"))
	signal := func(what syscall.Signal) {
		t.Helper()
		if err := d.signal(what); err != nil {
			t.Fatal(err)
		}
	}
	logs := func(line string, times int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%q is logged %d times", line, times), func() bool { return strings.Count(d.log(), line) >= times })
	}
	signal(syscall.SIGUSR2)
	logs("started a process that takes over", 1)
	signal(syscall.SIGHUP)
	logs("reloaded the configuration", 1)
	signal(syscall.SIGUSR2)
	if err := os.WriteFile(begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	logs("reloaded the configuration", 2)
	logs("msg=serving", 3)
}
