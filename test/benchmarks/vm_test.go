package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/test/benchmarks/control"
	"rookery/test/vm"
)

func TestMemory(t *testing.T) {
	m, err := parseMemory("5600000-7ffd000 ---p 00000000 00:00 0    [rollup]\nRss:               59208 kB\nPss:   1 kB\nAnonymous:         40000 kB\n")
	if err != nil || m.resident != 59208<<10 || m.anonymous != 40000<<10 {
		t.Errorf("memory is %+v, %v", m, err)
	}
	for _, text := range []string{"", "Rss: 7 kB\n", "Rss: many kB\nAnonymous: 1 kB\n"} {
		if m, err := parseMemory(text); err == nil {
			t.Errorf("%q gave %+v", text, m)
		}
	}
}

func TestMeminfo(t *testing.T) {
	const text = "MemTotal: 1000 kB\nMemFree: 600 kB\nCached: 50 kB\nSwapCached: 9 kB\nAnonPages: 100 kB\nSlab: 70 kB\n"
	var k kernelMemory
	if err := k.parseMeminfo(text); err != nil || k.slab != 70<<10 || k.own != 250<<10 {
		t.Errorf("it is %+v, %v; want 70 kB of caches and 250 kB in all", k, err)
	}
	if err := k.parseMeminfo(strings.Replace(text, "AnonPages", "Anon", 1)); err == nil {
		t.Error("without a field it is taken")
	}
}

const slabs = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCPv6                 13     26   2432   13    8 : tunables    0    0    0 : slabdata      2      3      0
filp                4000   4112    256   16    1 : tunables    0    0    0 : slabdata    257    257      0
`

func TestSlabs(t *testing.T) {
	caches, err := parseSlabs(slabs)
	if err != nil || len(caches) != 2 || caches["TCPv6"] != 3*8*4096 || caches["filp"] != 257*4096 {
		t.Errorf("caches are %v, %v", caches, err)
	}
	for _, text := range []string{"", "slabinfo - version: 2.1\n", "filp 1 2 3\n", strings.Replace(slabs, "    8 :", "    x :", 1)} {
		if caches, err := parseSlabs(text); err == nil {
			t.Errorf("%q gave %v", text, caches)
		}
	}
}

func TestSockstat(t *testing.T) {
	const text = "sockets: used 8\nTCP: inuse 3 orphan 0 tw 1 alloc 4 mem 256\nTCP6: inuse 77\n"
	for _, c := range []struct {
		protocol, key string
		want          int64
	}{{"TCP", "mem", 256}, {"TCP", "inuse", 3}, {"TCP6", "inuse", 77}} {
		if got, err := parseSockstat(text, c.protocol, c.key); err != nil || got != c.want {
			t.Errorf("%s of %s is %d, %v; want %d", c.key, c.protocol, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{"UDP", "inuse"}, {"TCP6", "mem"}} {
		if got, err := parseSockstat(text, c[0], c[1]); err == nil {
			t.Errorf("%v is %d", c, got)
		}
	}
}

func TestSplit(t *testing.T) {
	caches := map[string]int64{"TCP": 200, "TCPv6": 240, "filp": 100}
	for _, c := range []struct {
		both                          bool
		accepting, connecting, socket int64
	}{{true, 290, 250, 240}, {false, 270, 270, 100}} {
		g := grown{caches: caches, bothKind: c.both}
		accepting, connecting := g.split()
		if accepting != c.accepting || connecting != c.connecting || socketBytes(g) != c.socket {
			t.Errorf("both kinds %v: %d, %d and %d; want %d, %d and %d", c.both, accepting, connecting, socketBytes(g), c.accepting, c.connecting, c.socket)
		}
	}
}

func TestCollections(t *testing.T) {
	var c collections
	c.hear("time=t level=INFO msg=serving")
	c.hear("gc 1 @0.1s 2%: 1.0+144+4.0 ms clock, 2.0+6.5/75/74+8.0 ms cpu, 27->27->15 MB, 28 MB goal, 0 MB stacks, 0 MB globals, 2 P")
	first := c.count()
	c.hear("gc 2 @0.2s 2%: 3.0+1+0.5 ms clock, 1.0+1/1/1+1.0 ms cpu, 27->27->15 MB, 28 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)")
	if n, longest, cpu, err := c.since(0); n != 2 || longest != 4*time.Millisecond || cpu != 170500*time.Microsecond || err != nil {
		t.Errorf("of all: %d, %v, %v, %v", n, longest, cpu, err)
	}
	if n, longest, cpu, err := c.since(first); n != 1 || longest != 3*time.Millisecond || cpu != 5*time.Millisecond || err != nil {
		t.Errorf("of the second: %d, %v, %v, %v", n, longest, cpu, err)
	}
	c.hear("gc 3 @0.3s 2%: 3.0+1 ms clock, 1.0 ms cpu")
	if _, _, _, err := c.since(0); err == nil || !strings.Contains(err.Error(), "gc 3 ") {
		t.Errorf("a line that can't be read gave %v", err)
	}
	for _, line := range []string{"gc 3 nothing", "gc 3 @1s 2%: 1+x+1 ms clock, 1 ms cpu", "gc 3 @1s 2%: 1+1+1 ms clock, y ms cpu"} {
		if got, err := parseCollection(line); err == nil {
			t.Errorf("%q gave %+v", line, got)
		}
	}
}

func TestState(t *testing.T) {
	const text = `# TYPE rookery_sessions gauge
rookery_sessions 7
# TYPE rookery_subscriptions gauge
rookery_subscriptions 70
# TYPE rookery_connections_closed_total counter
rookery_connections_closed_total{code="peer"} 2
rookery_connections_closed_total{code="normal"} 3
# TYPE rookery_probes_total counter
rookery_probes_total 11
# TYPE rookery_probes_answered_total counter
rookery_probes_answered_total 9
`
	got, err := parseState(text)
	closedBy := map[string]float64{"peer": 2, "normal": 3}
	if want := (state{sessions: 7, subscriptions: 70, closed: 5, closedBy: closedBy, probes: 11, answers: 9}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("state is %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseState(strings.Replace(text, "rookery_probes", "rookery_pings", 2)); err == nil || !strings.Contains(err.Error(), "rookery_probes_total") {
		t.Errorf("without a metric: %v", err)
	}
	if _, err := parseState("not metrics"); err == nil {
		t.Error("what is no metrics is taken")
	}
}

// TestAnswers: everybody has answered only if nobody is gone, all were asked, and as many answered.
func TestAnswers(t *testing.T) {
	before := state{sessions: 100, closed: 4, probes: 50, answers: 40}
	good := state{sessions: 100, closed: 4, probes: 250, answers: 240}
	if answers, err := judgeAnswers(100, before, good); err != nil || answers != 200 {
		t.Errorf("%v answers, %v; want 200", answers, err)
	}
	for want, change := range map[string]func(*state){
		"99 are left":           func(s *state) { s.sessions = 99 },
		"1 were closed":         func(s *state) { s.closed++ },
		"only 99 heartbeats":    func(s *state) { s.probes = 50 + 99 },
		"only 99 answers":       func(s *state) { s.answers = 40 + 99 },
		"of 100 connections 98": func(s *state) { s.sessions, s.closed = 98, 6 },
		"did nothing: 4001 2, peer 1": func(s *state) {
			s.sessions, s.closed, s.closedBy = 97, 7, map[string]float64{"4001": 2, "peer": 1}
		},
	} {
		after := good
		change(&after)
		if answers, err := judgeAnswers(100, before, after); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v answers, %v; want something on %q", answers, err, want)
		}
	}
}

func TestHeartbeatsGiveTheProcessorTime(t *testing.T) {
	if got, want := heartbeatFor(1000), 25*time.Second; got != want {
		t.Errorf("of few it is %v, want the default, %v", got, want)
	}
	if got, want := heartbeatFor(1_000_000), 400*time.Second; got != want {
		t.Errorf("of a million it is %v, want %v", got, want)
	}
}

func TestBenchArguments(t *testing.T) {
	l := loader{target: "ws://192.168.0.1:8080/ws", source: "127.0.0.0/16"}
	args := l.arguments(crowd{connections: 500, rooms: 5, roomsEach: 2, workers: 3})
	for flag, want := range map[string]string{
		"--target": "ws://192.168.0.1:8080/ws", "--connections": "500", "--rooms": "5", "--rooms-each": "2", "--workers": "3", "--source": "127.0.0.0/16", "--key-file": "/secret",
	} {
		if i := slices.Index(args, flag); i < 0 || args[i+1] != want {
			t.Errorf("%s is not %s in %v", flag, want, args)
		}
	}
}

// machineOfNothing has no machine behind it; causes gives why it failed, nil if it did not.
func machineOfNothing(t *testing.T) (m *machine, causes func() error) {
	ctx, fail := context.WithCancelCause(t.Context())
	t.Cleanup(func() { fail(nil) })
	return &machine{ctx: ctx, fail: fail, waiting: map[int]waiter{}, programs: map[int]*program{}}, func() error { return context.Cause(ctx) }
}

// TestLost: of a machine that is gone the console says why.
func TestLost(t *testing.T) {
	console := filepath.Join(t.TempDir(), "console")
	m := &machine{Machine: &vm.Machine{Console: console}}
	for said, want := range map[string]string{
		"[ 9.1] Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled\n": "ran out of its",
		"[ 9.1] Kernel panic - not syncing: Attempted to kill init!\n":                           "Attempted to kill init",
	} {
		if err := os.WriteFile(console, []byte(said), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.lost(io.EOF); !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %v, want something on %q", said, err, want)
		}
	}
}

// TestProgramsThatEnd: one that nobody asked to is the end of all, with its last words.
func TestProgramsThatEnd(t *testing.T) {
	m, causes := machineOfNothing(t)
	p := &program{name: "bench", asked: true, ended: make(chan struct{})}
	m.ended(p, "exit status 0")
	if err := causes(); err != nil {
		t.Errorf("a program that was asked to end gave %v", err)
	}
	p = &program{name: "serve", ended: make(chan struct{})}
	for i := range 2 * newestLines {
		p.say(strings.Repeat("x", i))
	}
	m.ended(p, "signal: killed")
	err := causes()
	if err == nil || !strings.Contains(err.Error(), "rookery serve ended in the machine, signal: killed") || !strings.Contains(err.Error(), strings.Repeat("x", 2*newestLines-1)) {
		t.Errorf("a program that ended by itself gave %v", err)
	}
	if got := len(p.said); got != newestLines {
		t.Errorf("%d lines are kept, want %d", got, newestLines)
	}
}

// TestAnswersFindWhoWaits: a program is known as soon as its number is, and a late answer is nobody's.
func TestAnswersFindWhoWaits(t *testing.T) {
	m, _ := machineOfNothing(t)
	p, refused := &program{name: "serve"}, &program{name: "bench"}
	first, second := make(chan control.Event, 1), make(chan control.Event, 1)
	m.waiting[1], m.waiting[2] = waiter{first, p}, waiter{second, refused}
	m.deliver(control.Event{Number: 2, Kind: control.Failed, Text: "no such file"})
	m.deliver(control.Event{Number: 1, Kind: control.Done, PID: 70})
	m.deliver(control.Event{Number: 1, Kind: control.Done, PID: 71})
	if got := m.program(70); got != p || p.pid != 70 || m.program(71) != nil {
		t.Errorf("process 70 is %+v, want the program that was started", got)
	}
	if a, b := <-first, <-second; a.PID != 70 || b.Text != "no such file" || len(m.programs) != 1 {
		t.Errorf("answers are %+v and %+v, with %d programs", a, b, len(m.programs))
	}
}
