package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"rookery/bench/result"
	"rookery/test/benchmarks/control"
)

// succession is what an old and a new server say of a takeover (docs/takeover.md). They speak by one pipe.
type succession struct {
	mu    sync.Mutex                   // held for memory work only
	said  map[string]map[string]string // the first line of each message that there is, by fields; guarded by mu
	wrong string                       // the first line that tells of an error; guarded by mu
}

func newSuccession() *succession { return &succession{said: map[string]map[string]string{}} }

var fieldOfLine = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// hear takes a line of one of them.
func (s *succession) hear(line string) {
	if !strings.HasPrefix(line, "time=") {
		return
	}
	fields := map[string]string{}
	for _, f := range fieldOfLine.FindAllStringSubmatch(line, -1) {
		fields[f[1]] = strings.Trim(f[2], `"`)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said[fields["msg"]] == nil {
		s.said[fields["msg"]] = fields
	}
	if fields["level"] == "ERROR" && s.wrong == "" {
		s.wrong = line
	}
}

// messages of the log.
const (
	startedMessage = "started a process that takes over"
	handingMessage = "handing over"
	handedMessage  = "handed over"
	tookMessage    = "took over"
)

// done says whether everybody is with the new server. An error is one that a server has told.
func (s *succession) done() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong != "" {
		return false, fmt.Errorf("a server says %s", s.wrong)
	}
	return s.said[tookMessage] != nil && s.said[handedMessage] != nil, nil
}

// heir is the new process, 0 before it is there.
func (s *succession) heir() (pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, _ = strconv.Atoi(s.said[startedMessage]["process"])
	return pid
}

// takeoverTimes are counted from the freeze.
type takeoverTimes struct {
	closed  time.Duration // the old server has all connections in its hands, and the log is closed
	opened  time.Duration // the new one has them, and the log is open
	reading time.Duration // it has read what clients have sent meanwhile
}

// handedOver is what a takeover was.
type handedOver struct {
	takeoverTimes
	given, taken int   // connections
	sentAway     int   // connections
	bytes        int64 // of their states
}

// report reads the lines.
func (s *succession) report() (h handedOver, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	field := func(message, name string) string {
		text, found := s.said[message][name]
		if !found {
			err = errors.Join(err, fmt.Errorf("the servers said no %q with a field %s", message, name))
		}
		return text
	}
	count := func(message, name string) int {
		n, failed := strconv.Atoi(field(message, name))
		err = errors.Join(err, failed)
		return n
	}
	duration := func(message, name string) time.Duration {
		d, failed := time.ParseDuration(field(message, name))
		err = errors.Join(err, failed)
		return d
	}
	at := func(message string) time.Time {
		t, failed := time.Parse(time.RFC3339Nano, field(message, "time"))
		err = errors.Join(err, failed)
		return t
	}
	h = handedOver{given: count(handedMessage, "connections"), taken: count(tookMessage, "connections"), sentAway: count(handedMessage, "late"), bytes: int64(count(handedMessage, "bytes"))}
	h.closed, h.opened = duration(handedMessage, "closing"), duration(handedMessage, "took")
	h.reading = at(tookMessage).Sub(at(handingMessage))
	return h, err
}

// peaks is memory while there are two servers.
type peaks struct {
	both int64 // the most of both at one moment
	heir int64 // the most of the new one
}

// sampling is how often memory is looked at meanwhile.
const sampling = time.Second / 2

// takeOver has another process take over, and returns when it has everybody and the old one has ended. The server is that process from then on.
func (s *server) takeOver() (p peaks, err error) {
	old := s.program.pid
	if _, err := s.ask(control.Order{Kind: control.TakeOver, PID: old}); err != nil {
		return p, err
	}
	for {
		if err := s.pause(sampling); err != nil {
			return p, fmt.Errorf("%w; the servers said:\n%s", err, s.program.lines())
		}
		done, err := s.succession.done()
		if err != nil {
			return p, err
		}
		before, err := s.living(old)
		if err != nil {
			return p, err
		}
		after := life{}
		if heir := s.succession.heir(); heir != 0 {
			if after, err = s.living(heir); err != nil {
				return p, err
			}
			if after.ended {
				return p, fmt.Errorf("the process that was to take over has ended; the servers said:\n%s", s.program.lines())
			}
		}
		p.both = max(p.both, before.resident+after.resident)
		p.heir = max(p.heir, after.most)
		if done && before.ended {
			return p, nil
		}
	}
}

// life is what /proc says of a process.
type life struct {
	ended          bool
	resident, most int64 // memory now, and the most that it ever was
}

func (m *machine) living(pid int) (life, error) {
	text, err := m.read(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return life{}, err
	}
	return parseLife(text)
}

// parseLife: one that has ended has a number until its parent looks, and no memory.
func parseLife(text string) (l life, err error) {
	if strings.Contains(text, "\nState:\tZ") || strings.Contains(text, "\nState:\tX") {
		return life{ended: true}, nil
	}
	if l.resident, err = kibibytes(text, "VmRSS"); err != nil {
		return l, err
	}
	l.most, err = kibibytes(text, "VmHWM")
	return l, err
}

// watchers are a few that talk all the time, to see what a client sees.
type watchers struct {
	*program
	count int
}

const (
	watcherCount = 20
	watchFile    = "/watch.json" // their result
)

// watch has them come beside others, who are so many, and returns when they talk.
func (s *server) watch(others int) (w watchers, err error) {
	w.count = watcherCount
	w.program, err = s.start(benchProcessor, nil, nil, "bench", "rooms", "--target", "ws://127.0.0.1:8080/ws", "--source", "127.1.0.0/24", "--key-file", control.SecretFile,
		"--pid", "-1", "--quiet", "--json", watchFile, "--connections", fmt.Sprint(w.count), "--rooms", "2", "--rate", "10", "--workers", "1",
		"--warmup", "5s", "--duration", "24h", "--drain", "2m")
	if err != nil {
		return w, err
	}
	if err := s.until(others + w.count); err != nil {
		return w, fmt.Errorf("those who talk: %w; they said:\n%s", err, w.lines())
	}
	return w, s.pause(10 * time.Second)
}

// until waits until there are so many sessions.
func (s *server) until(sessions int) error {
	for deadline := time.Now().Add(stallPatience); ; {
		now, err := s.state()
		switch {
		case err != nil:
			return err
		case int(now.sessions) == sessions:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("after %v there are %s sessions, not %d", stallPatience, grouped(now.sessions), sessions)
		}
		if err := s.pause(look); err != nil {
			return err
		}
	}
}

// watched ends their talk and gives what they saw. It fails if it was anything but a wait.
func (s *server) watched(w watchers) (r result.Result, err error) {
	if err := s.interrupt(w.program); err != nil {
		return r, err
	}
	text, err := s.read(watchFile)
	if err != nil {
		return r, fmt.Errorf("%w; those who talk said:\n%s", err, w.lines())
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, fmt.Errorf("result of those who talk: %w", err)
	}
	return r, judgeWatchers(r)
}

func judgeWatchers(r result.Result) error {
	c := r.Counts
	if c.Undelivered()+c.Duplicated+c.Reordered+c.Foreign+c.Disconnected+c.Refused+c.Unanswered > 0 || c.Delivered == 0 {
		return fmt.Errorf("of those who talk %d were disconnected; of %d deliveries %d were lost, %d came twice, %d in the wrong order, %d were not theirs; %d messages were refused, %d not answered",
			c.Disconnected, c.Expected, c.Undelivered(), c.Duplicated, c.Reordered, c.Foreign, c.Refused, c.Unanswered)
	}
	return nil
}

// judgeTakeover says whether the new server has had everybody, and lost nobody but those who talked and left.
func judgeTakeover(connections, left int, h handedOver, now state) error {
	switch all := connections + left; {
	case h.given != all || h.taken != all || h.sentAway != 0:
		return fmt.Errorf("of %d connections %d were handed over, %d were taken and %d were sent away", all, h.given, h.taken, h.sentAway)
	case int(now.closed) != left || int(now.sessions) != connections:
		return fmt.Errorf("of %d connections %s are left, and %s were closed, of which %d have left: %s",
			all, grouped(now.sessions), grouped(now.closed), left, closings(state{}, now))
	}
	return nil
}

// succeeded has a takeover while a crowd is there.
func (s *server) succeeded(connections int) (h handedOver, p peaks, seen result.Result, err error) {
	w, err := s.watch(connections)
	if err != nil {
		return h, p, seen, err
	}
	s.tell("taking over")
	if p, err = s.takeOver(); err != nil {
		return h, p, seen, err
	}
	if h, err = s.succession.report(); err != nil {
		return h, p, seen, err
	}
	s.tell("taken over: %+v", h)
	s.program.pid = s.succession.heir()
	if seen, err = s.watched(w); err != nil {
		return h, p, seen, err
	}
	if err = s.until(connections); err != nil {
		return h, p, seen, err
	}
	now, err := s.state()
	if err != nil {
		return h, p, seen, err
	}
	return h, p, seen, judgeTakeover(connections, w.count, h, now)
}
