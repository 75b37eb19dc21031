package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// crowd is connections that do nothing but answer heartbeats. Each has a token of its own.
type crowd struct {
	name        string // of profiles
	connections int
	rooms       int // all of them
	roomsEach   int // that each connection joins
	workers     int // processes of the load tester
}

// roomSize is how many connections share a room, as in test/figures.
const roomSize = 100

// stallPatience is how long nobody more may come while not everybody is there.
const stallPatience = 3 * time.Minute

// hold has a crowd come, and returns when everybody is there and has joined. They stay until the machine is off or the program, the
// load tester, is interrupted.
func (s *server) hold(c crowd) (*program, error) {
	profiled := make(chan error, 1)
	if s.equipment.profile != "" {
		go func() { profiled <- s.takeProfile(c.name) }() // ends with the profile or the machine
	} else {
		profiled <- nil
	}
	p, err := s.loader.start(s.loader.processor, nil, nil, s.loader.arguments(c)...)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	come, told := begun, begun
	before, err := s.state()
	if err != nil {
		return nil, err
	}
	for most := before; ; {
		now, err := s.nextState()
		if err != nil {
			return nil, fmt.Errorf("with %s of %s connections: %w", grouped(most.sessions), grouped(float64(c.connections)), err)
		}
		if int(now.sessions) == c.connections && int(now.subscriptions) == c.connections*c.roomsEach {
			s.tell("%s joined after %v", grouped(now.sessions), time.Since(begun).Round(time.Second))
			return p, <-profiled
		}
		if now.sessions+now.subscriptions > most.sessions+most.subscriptions {
			come, most = time.Now(), now
		}
		if late := time.Since(come); late > stallPatience || now.sessions < most.sessions/2 {
			return nil, fmt.Errorf("for %v nobody more came than %s, in %s rooms, of %d: now %s; the load tester said:\n%s", late.Round(time.Second),
				grouped(most.sessions), grouped(most.subscriptions), c.connections, s.story(before, now), p.lines())
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			s.tell("%s after %v", s.story(before, now), time.Since(begun).Round(time.Second))
		}
	}
}

// story says in a few words how many are there, who went, and what the machine has left, which tells why.
func (s *server) story(before, now state) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s are there", grouped(now.sessions))
	if codes := closings(before, now); codes != "" {
		fmt.Fprintf(&b, " and were closed: %s", codes)
	}
	if sent := now.probes - before.probes; sent > 0 {
		fmt.Fprintf(&b, ", %s of %s heartbeats were answered", grouped(now.answers-before.answers), grouped(sent))
	}
	r, err := s.remains()
	if err != nil {
		fmt.Fprintf(&b, ", %v", err)
		return b.String()
	}
	fmt.Fprintf(&b, ", memory is left for %d MiB, sockets hold %d MiB and were short of it %d times, %d pages were read again, %d connects were dropped",
		r.available>>20, r.buffers>>20, r.pressed, r.faults, r.dropped)
	return b.String()
}

// arguments are those of rookery. The load tester does not look at the server's process, which would cost both: what is to be
// known of it is read here.
func (l loader) arguments(c crowd) []string {
	return []string{
		"bench", "/plan.yaml", "--target", l.target, "--source", l.source, "--key-file", "/secret", "--pid", "-1",
		"--connections", fmt.Sprint(c.connections), "--rooms", fmt.Sprint(c.rooms), "--rooms-each", fmt.Sprint(c.roomsEach),
		"--workers", fmt.Sprint(c.workers),
	}
}

func (m *machine) tell(format string, args ...any) {
	fmt.Fprintf(m.equipment.progress, "  "+format+"\n", args...)
}

// answered waits until everybody who is there has answered a heartbeat, and gives the number of answers. That there are as many
// as connections is not enough, since one may have answered twice. But the server closes who has not been heard for two heartbeats,
// and looks at everyone eight times in one: when nobody was closed for so long, each has answered. A server that is late all the time waits longer; then the
// number of answers is what there is.
func (s *server) answered(connections int) (answers float64, err error) {
	before, err := s.state()
	if err != nil {
		return 0, err
	}
	s.tell("waiting for heartbeats, %v", answerTime(s.heartbeat))
	if err := s.pause(answerTime(s.heartbeat)); err != nil {
		return 0, err
	}
	after, err := s.state()
	if err != nil {
		return 0, err
	}
	return judgeAnswers(connections, before, after)
}

// answerTime is two heartbeats with the looks that may be between, and the half of one over which those are asked who were heard at the same time.
func answerTime(heartbeat time.Duration) time.Duration { return heartbeat*11/4 + 10*time.Second }

func judgeAnswers(connections int, before, after state) (answers float64, err error) {
	answers = after.answers - before.answers
	switch {
	case after.closed != before.closed || int(after.sessions) != connections:
		return 0, fmt.Errorf("of %d connections %s are left, and %s were closed while they did nothing: %s",
			connections, grouped(after.sessions), grouped(after.closed-before.closed), closings(before, after))
	case after.probes-before.probes < float64(connections):
		return 0, fmt.Errorf("only %s heartbeats were asked for, of %d connections", grouped(after.probes-before.probes), connections)
	case answers < float64(connections):
		return 0, fmt.Errorf("only %s answers to heartbeats came, of %d connections", grouped(answers), connections)
	}
	return answers, nil
}

// closings says how many ended with each code between two looks.
func closings(before, after state) string {
	var codes []string
	for _, code := range slices.Sorted(maps.Keys(after.closedBy)) {
		if n := after.closedBy[code] - before.closedBy[code]; n > 0 {
			codes = append(codes, fmt.Sprintf("%s %s", code, grouped(n)))
		}
	}
	return strings.Join(codes, ", ")
}

// settle waits until the kernel has taken back what a crowd needed to come, or to go.
func (m *machine) settle() error { return m.pause(30 * time.Second) }
