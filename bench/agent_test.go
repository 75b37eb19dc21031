package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/worker"
	"rookery/bench/result"
	"rookery/bench/watch"
)

const testSecret = "a secret of the tests"

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// testAgent is an agent on the loopback address.
type testAgent struct {
	t       *testing.T
	address string
	lines   chan string // what it logs
	end     context.CancelFunc
	ended   chan error
	mark    string // an argument of its workers
}

// startAgent runs an agent until the test ends.
func startAgent(t *testing.T) *testAgent {
	t.Helper()
	return startAgentOf(t, os.Args[0])
}

// startAgentOf is startAgent with another program for a worker.
func startAgentOf(t *testing.T, program string) *testAgent {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &testAgent{t: t, address: listener.Addr().String(), lines: make(chan string, 100), end: cancel, ended: make(chan error, 1)}
	a.mark = "worker-of-" + t.Name() + a.address
	go func() {
		a.ended <- ServeAgent(ctx, listener, testSecret, []string{program, a.mark}, io.Discard, func(text string) { a.lines <- text })
	}()
	t.Cleanup(a.stop)
	return a
}

// stop ends the agent and looks for what it left.
func (a *testAgent) stop() {
	a.end()
	select {
	case err := <-a.ended:
		a.ended <- nil // for the next call
		if err != nil {
			a.t.Errorf("the agent ended with: %v", err)
		}
	case <-time.After(patience):
		a.t.Fatalf("the agent has not ended in %v", patience)
	}
	if left := processes(a.t, a.mark); len(left) > 0 {
		a.t.Errorf("the processes %v outlive their agent", left)
	}
}

// logs waits for a line.
func (a *testAgent) logs(part string) string {
	a.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-a.lines:
			if strings.Contains(line, part) {
				return line
			}
		case <-late:
			a.t.Fatalf("the agent has not logged %q", part)
		}
	}
}

func (a *testAgent) dial() net.Conn {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func TestTwoLoadHosts(t *testing.T) {
	t.Parallel()
	one, two := startAgent(t), startAgent(t)
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Hosts, p.Clients.Workers = []string{one.address, two.address}, 2
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r, err := Run(ctx, p, Options{Version: "test", Worker: []string{"/bin/false"}, Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	truth := s.Truth()
	if n := r.Counts; n.Connected != 12 || n.Sent != 120 || n.Sent != truth.Published || n.Delivered != truth.Delivered || n.Delivered != n.Expected {
		t.Errorf("counts are %+v, the server's %+v", n, truth)
	}
	here, err := watch.LookAtMachine()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Hosts) != 3 {
		t.Fatalf("there are %d hosts, want the coordinator's and two: %+v", len(r.Hosts), r.Hosts)
	}
	for i, h := range r.Hosts {
		want := result.Host{
			Name: here.Name, CPU: here.CPU, Cores: here.Cores, MemoryBytes: here.MemoryBytes, Kernel: here.Kernel,
		}
		if i > 0 {
			want.Name, want.Workers = p.Clients.Hosts[i-1], 2
			// All clocks are one clock here, whatever the machine has to do meanwhile; how well a process knows it is the rest.
			if h.ClockErrorSeconds <= 0 || h.ClockErrorSeconds > 1 || math.Abs(h.ClockSeconds) > h.ClockErrorSeconds+100e-6 {
				t.Errorf("the clock of host %d is %v s off, to %v s; want 0 s within that", i, h.ClockSeconds, h.ClockErrorSeconds)
			}
			want.ClockSeconds, want.ClockErrorSeconds = h.ClockSeconds, h.ClockErrorSeconds
			if math.Abs(h.ClockDriftSeconds) > h.ClockDriftErrorSeconds+100e-6 {
				t.Errorf("the clock of host %d drifted by %v ± %v s", i, h.ClockDriftSeconds, h.ClockDriftErrorSeconds)
			}
			want.ClockDriftSeconds, want.ClockDriftErrorSeconds = h.ClockDriftSeconds, h.ClockDriftErrorSeconds
		}
		if h != want {
			t.Errorf("host %d is %+v, want %+v", i, h, want)
		}
	}
	for _, a := range []*testAgent{one, two} {
		a.logs("has a worker")
		a.logs("has a worker")
		a.logs("its worker has ended")
		a.logs("its worker has ended")
	}
}

// TestClockOfAnotherHost has a worker whose clock is wrong.
func TestClockOfAnotherHost(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, 0, 250 * time.Millisecond, 1000 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			orders, theirs := net.Pipe()
			defer orders.Close()
			f := &fleet{failed: make(chan error, 1), hosts: []result.Host{{}, {}}}
			l := &link{name: "worker", host: 1, encoder: json.NewEncoder(orders), answers: make(chan worker.Report, 1)}
			go func() {
				for decoder := json.NewDecoder(theirs); ; {
					var o worker.Order
					if err := decoder.Decode(&o); err != nil {
						return // the test is over
					}
					l.answers <- worker.Report{Clock: engine.Now() + int64(off)}
				}
			}()
			if err := f.compareClocks(l); err != nil {
				t.Fatal(err)
			}
			found, within := f.hosts[1].ClockSeconds, f.hosts[1].ClockErrorSeconds
			if within <= 0 || within > 1 || math.Abs(found+off.Seconds()) > within+1e-6 {
				t.Errorf("found %v s to within %v s, want %v s", found, within, -off.Seconds())
			}
			if got := time.Duration(f.clock(1).off).Seconds(); got != found {
				t.Errorf("the worker is told %v s, the result %v s", got, found)
			}
		})
	}
}

func TestAgentsWantTheirSecret(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	p := smallPlan("ws://127.0.0.1:1/ws")
	p.Clients.Hosts = []string{a.address}
	for _, secret := range []string{"", "a secret", testSecret + "2", strings.Repeat("long", 200)} {
		_, err := Run(t.Context(), p, Options{Version: "test", Secret: secret})
		if err == nil || !strings.HasPrefix(err.Error(), "load host "+a.address+": ") {
			t.Errorf("with the secret %q the run ended with %v", secret, err)
		}
		if len(secret) < 100 && (err == nil || !strings.Contains(err.Error(), "another secret")) {
			t.Errorf("with the secret %q the run ended with %v, want that the agent has another", secret, err)
		}
		a.logs("coordinator 127.0.0.1:")
	}
	select {
	case line := <-a.lines:
		t.Errorf("the agent logged %q", line)
	default:
	}
}

func TestAnAgentWithoutASecret(t *testing.T) {
	if err := ServeAgent(t.Context(), nil, "", nil, nil, nil); err == nil || !strings.Contains(err.Error(), "needs a secret") {
		t.Errorf("it ended with %v", err)
	}
}

func TestAgentsTakeNoGarbage(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	for _, c := range []struct{ name, says, answer, logs string }{
		{"another protocol", "GET / HTTP/1.1\r\n", "the agent has another secret\n", "another secret"},
		{"another version", "rookery bench 2 " + testSecret + "\n", "the agent has another secret\n", "another secret"},
		{"an empty line", "\n", "the agent has another secret\n", "another secret"},
		{"a line without end", strings.Repeat("x", 512), "", "no greeting: a line of more than 512 bytes"},
		{"a half of a line", "rookery bench 1 ", "", "no greeting: EOF"},
		{"nothing", "", "", "no greeting: EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := a.dial()
			if _, err := io.WriteString(conn, c.says); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if string(answer) != c.answer || err != nil {
				t.Errorf("the answer is %q, %v; want %q", answer, err, c.answer)
			}
			if line := a.logs("coordinator "); !strings.Contains(line, c.logs) {
				t.Errorf("the agent logs %q, want %q", line, c.logs)
			}
		})
	}
}

// TestNoAgentThere: another server listens at the address.
func TestNoAgentThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, c := range []struct{ name, answer, want string }{
		{"it hangs up", "", "no agent answers: EOF"},
		{"it speaks HTTP", "HTTP/1.1 400 Bad Request\n\n", "HTTP/1.1 400 Bad Request"},
		{"it talks on", strings.Repeat("\xff", 512), "no agent answers: a line of more than 512 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			served := make(chan error, 1)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					served <- err
					return
				}
				defer conn.Close()
				if _, err = io.ReadFull(conn, make([]byte, len("rookery bench 1 x\n"))); err == nil {
					_, err = io.WriteString(conn, c.answer)
				}
				served <- err
			}()
			p := smallPlan("ws://127.0.0.1:1/ws")
			p.Clients.Hosts = []string{listener.Addr().String()}
			_, err := Run(t.Context(), p, Options{Version: "test", Secret: "x"})
			if want := "load host " + p.Clients.Hosts[0] + ": " + c.want; err == nil || err.Error() != want {
				t.Errorf("the run ended with %v, want %q", err, want)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnAgentEndsInTheRun ends the second of two load hosts, by its agent.
func TestAnAgentEndsInTheRun(t *testing.T) {
	t.Parallel()
	one, two := startAgent(t), startAgent(t)
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Hosts, p.Time.Duration = []string{one.address, two.address}, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r, err := Run(ctx, p, Options{Version: "test", Secret: testSecret, Progress: during(two.stop)})
	if r != nil || err == nil || !strings.HasPrefix(err.Error(), "worker 1 on "+two.address) {
		t.Errorf("the run gave %v and %v, want that worker 1 on %s has ended", r, err, two.address)
	}
	one.logs("its worker has ended")
}

// TestAKilledWorkerOfAnAgent: the coordinator learns that it ended, the agent's log why.
func TestAKilledWorkerOfAnAgent(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Hosts, p.Clients.Workers, p.Time.Duration = []string{a.address}, 2, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r, err := Run(ctx, p, Options{Version: "test", Secret: testSecret, Progress: during(func() {
		workers := processes(t, a.mark)
		if len(workers) != 2 {
			t.Errorf("%d workers run, want 2", len(workers))
		}
		if err := syscall.Kill(workers[0], syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})})
	if r != nil || err == nil || !strings.Contains(err.Error(), " on "+a.address) {
		t.Errorf("the run gave %v and %v, want the end of a worker on %s", r, err, a.address)
	}
	a.logs("its worker ended: signal: killed")
	a.logs("its worker has ended") // the other, with the run
}

// TestACoordinatorVanishes: a worker ends with its coordinator, before it has a part and with one.
func TestACoordinatorVanishes(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	s := benchtest.Start(t, benchtest.Faults{})
	for _, begun := range []bool{false, true} {
		conn := a.dial()
		if err := worker.Greet(conn, testSecret); err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		reports, orders := json.NewDecoder(conn), json.NewEncoder(conn)
		var r worker.Report
		if err := reports.Decode(&r); err != nil || r.Hello == nil || r.Hello.Version != "test" {
			t.Fatalf("the worker said %+v, %v; want hello", r, err)
		}
		if n := len(processes(t, a.mark)); n != 1 {
			t.Errorf("%d workers run, want one", n)
		}
		if begun {
			targets, err := resolve(t.Context(), []string{s.URL()})
			if err != nil {
				t.Fatal(err)
			}
			part := (&fleet{workers: []*link{{}}}).parts(smallPlan(s.URL()), 7, targets)[0]
			part.Plan.Rooms.Prefix = "vanished-"
			for _, o := range []worker.Order{{Begin: &part, Epoch: engine.Now()}, {Connect: true, At: engine.Now()}} {
				if err := orders.Encode(o); err != nil {
					t.Fatal(err)
				}
			}
			for r.Second == nil || r.Second.Open != 12 {
				r = worker.Report{}
				if err := reports.Decode(&r); err != nil || r.Error != "" {
					t.Fatalf("the worker said %+v, %v; want 12 open connections", r, err)
				}
			}
		}
		conn.Close()
		a.logs("its worker has ended")
		if left := processes(t, a.mark); len(left) > 0 {
			t.Errorf("the processes %v outlive their coordinator", left)
		}
	}
}

func TestAnAgentThatEndsWaitsForNoGreeting(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	silent, other := a.dial(), a.dial()
	if err := worker.Greet(other, testSecret); err != nil {
		t.Fatal(err)
	}
	a.logs("has a worker") // so the one before it was taken as well
	a.stop()
	if line := a.logs(silent.LocalAddr().String()); !strings.Contains(line, "use of closed network connection") {
		t.Errorf("the agent logs %q, want that it did not wait for the greeting", line)
	}
}

// TestAnAgentThatEndsWaitsForNoReader: its worker says more than a coordinator takes that has stopped to read.
func TestAnAgentThatEndsWaitsForNoReader(t *testing.T) {
	t.Parallel()
	a := startAgentOf(t, "yes")
	deaf := a.dial()
	if err := worker.Greet(deaf, testSecret); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(deaf, make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	for asleep := 0; asleep < 5; asleep++ { // until all buffers are full, and it waits for room
		if state := processState(t, processes(t, a.mark)[0]); state != "S" {
			asleep = 0
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
	a.stop()
}

// processState is S of one that waits, R of one that runs.
func processState(t *testing.T, pid int) string {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(line), ") ")
	return fields[:1]
}
