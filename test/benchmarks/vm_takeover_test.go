package main

import (
	"strings"
	"testing"
	"time"

	"rookery/bench/result"
)

var takeoverLines = []string{
	`gc 1 @0.1s 2%: 1.0+144+4.0 ms clock, 2.0+6.5/75/74+8.0 ms cpu, 27->27->15 MB, 28 MB goal, 2 P`,
	`time=2026-05-04T03:02:00.000Z level=INFO msg=serving address=0.0.0.0:8080`,
	`time=2026-05-04T03:02:01.000Z level=INFO msg="started a process that takes over" program=/rookery process=77`,
	`time=2026-05-04T03:02:02.250Z level=INFO msg="handing over" to=77 connections=320`,
	`time=2026-05-04T03:02:03.000Z level=INFO msg="taking over" connections=320`,
	`time=2026-05-04T03:02:03.001Z level=INFO msg="handed over" to=77 connections=320 late=2 bytes=64000 closing=300ms took=1.5s`,
	`time=2026-05-04T03:02:06.000Z level=INFO msg="took over" connections=319 rooms=200ms sockets=1.25s`,
}

func TestSuccession(t *testing.T) {
	s := newSuccession()
	for i, line := range takeoverLines {
		if done, err := s.done(); done || err != nil {
			t.Errorf("before line %d it is done: %v, %v", i, done, err)
		}
		if _, err := s.report(); err == nil {
			t.Errorf("before line %d there is a report", i)
		}
		s.hear(line)
	}
	if done, err := s.done(); !done || err != nil || s.heir() != 77 {
		t.Errorf("done is %v, %v, by process %d; want it by 77", done, err, s.heir())
	}
	want := handedOver{given: 320, taken: 319, sentAway: 2, bytes: 64000, takeoverTimes: takeoverTimes{
		closed: 300 * time.Millisecond, opened: 1500 * time.Millisecond, reading: 3750 * time.Millisecond,
	}}
	if got, err := s.report(); err != nil || got != want {
		t.Errorf("it was %+v, %v; want %+v", got, err, want)
	}
	s.hear(`time=2026-05-04T03:02:07.000Z level=ERROR msg="the log was not closed cleanly" err=x`)
	if _, err := s.done(); err == nil || !strings.Contains(err.Error(), "not closed cleanly") {
		t.Errorf("with an error of a server: %v", err)
	}
}

// TestSuccessionOfOtherLines: what can't be read is no report.
func TestSuccessionOfOtherLines(t *testing.T) {
	for from, to := range map[string]string{
		"connections=319": "connections=all", "time=2026-05-04T03:02:06": "time=morning", " bytes=64000": "",
	} {
		s := newSuccession()
		for _, line := range takeoverLines {
			s.hear(strings.Replace(line, from, to, 1))
		}
		if got, err := s.report(); err == nil {
			t.Errorf("with %q for %q it was %+v", to, from, got)
		}
	}
}

func TestLife(t *testing.T) {
	const living = "Name:\trookery\nState:\tS (sleeping)\nVmHWM:\t    9000 kB\nVmRSS:\t    7000 kB\n"
	if l, err := parseLife(living); err != nil || l != (life{resident: 7000 << 10, most: 9000 << 10}) {
		t.Errorf("it is %+v, %v", l, err)
	}
	if l, err := parseLife("Name:\trookery\nState:\tZ (zombie)\n"); err != nil || l != (life{ended: true}) {
		t.Errorf("one that has ended is %+v, %v", l, err)
	}
	for _, field := range []string{"VmHWM", "VmRSS"} {
		if l, err := parseLife(strings.Replace(living, field, "Vm", 1)); err == nil {
			t.Errorf("without %s it is %+v", field, l)
		}
	}
}

// TestTakeoverIsJudged: everybody was handed over and taken, and nobody is gone but those who talked.
func TestTakeoverIsJudged(t *testing.T) {
	good, now := handedOver{given: 320, taken: 320}, state{sessions: 300, closed: 20, closedBy: map[string]float64{"peer": 20}}
	if err := judgeTakeover(300, 20, good, now); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*handedOver, *state){
		"319 were handed over": func(h *handedOver, _ *state) { h.given-- },
		"319 were taken":       func(h *handedOver, _ *state) { h.taken-- },
		"1 were sent away":     func(h *handedOver, _ *state) { h.sentAway++ },
		"299 are left":         func(_ *handedOver, s *state) { s.sessions-- },
		"21 were closed, of which 20 have left: 4001 1, peer 20": func(_ *handedOver, s *state) {
			s.closed, s.closedBy = 21, map[string]float64{"peer": 20, "4001": 1}
		},
	} {
		h, s := good, now
		change(&h, &s)
		if err := judgeTakeover(300, 20, h, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something on %q", err, want)
		}
	}
}

func TestWatchersAreJudged(t *testing.T) {
	good := result.Counts{Sent: 10, Expected: 100, Delivered: 100}
	if err := judgeWatchers(result.Result{Counts: good}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*result.Counts){
		"nothing": func(c *result.Counts) { *c = result.Counts{} }, "lost": func(c *result.Counts) { c.Lost = 1 },
		"twice": func(c *result.Counts) { c.Duplicated = 1 }, "order": func(c *result.Counts) { c.Reordered = 1 },
		"foreign": func(c *result.Counts) { c.Foreign = 1 }, "disconnected": func(c *result.Counts) { c.Disconnected = 1 },
		"refused": func(c *result.Counts) { c.Refused = 1 }, "not answered": func(c *result.Counts) { c.Unanswered = 1 },
	} {
		c := good
		change(&c)
		if judgeWatchers(result.Result{Counts: c}) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
