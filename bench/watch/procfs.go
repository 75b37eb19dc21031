package watch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat and /proc/stat: USER_HZ, which is 100 on every architecture
// that Go runs on.
const tick = 10 * time.Millisecond

var errShort = errors.New("it has fewer fields than every kernel writes")

// taskStat is what is read of /proc/PID/stat, or of a thread's.
type taskStat struct {
	cpu     time.Duration // user and system
	system  time.Duration
	threads int64
	started uint64 // ticks since boot: tells a process from a later one with its number
	pages   int64  // resident
}

// parseTaskStat reads "1 (name) S 0 …"; the name may have spaces and parentheses in it.
func parseTaskStat(text string) (taskStat, error) {
	end := strings.LastIndexByte(text, ')')
	f := strings.Fields(text[end+1:])
	// The numbers of proc_pid_stat(5) less three: the first here is the third there.
	const user, system, threads, started, resident = 14 - 3, 15 - 3, 20 - 3, 22 - 3, 24 - 3
	if end < 0 || len(f) <= resident {
		return taskStat{}, errShort
	}
	var s taskStat
	u, err1 := strconv.ParseInt(f[user], 10, 64)
	k, err2 := strconv.ParseInt(f[system], 10, 64)
	var err3, err4, err5 error
	s.threads, err3 = strconv.ParseInt(f[threads], 10, 64)
	s.started, err4 = strconv.ParseUint(f[started], 10, 64)
	s.pages, err5 = strconv.ParseInt(f[resident], 10, 64)
	s.cpu, s.system = time.Duration(u+k)*tick, time.Duration(k)*tick
	return s, errors.Join(err1, err2, err3, err4, err5)
}

// parseSchedstat reads a thread's schedstat: how long it ran, how long it waited for a processor while it could have run,
// and how many times it was given one.
func parseSchedstat(text string) (ran, waited time.Duration, err error) {
	f := strings.Fields(text)
	if len(f) < 2 {
		return 0, 0, errShort
	}
	r, err1 := strconv.ParseInt(f[0], 10, 64)
	w, err2 := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(r), time.Duration(w), errors.Join(err1, err2)
}

// parseColon gives the first field of a line "key: value …" of /proc/PID/status, /proc/meminfo and the like.
func parseColon(text, key string) string {
	for line := range strings.Lines(text) {
		if name, rest, found := strings.Cut(line, ":"); found && name == key {
			if f := strings.Fields(rest); len(f) > 0 {
				return f[0]
			}
		}
	}
	return ""
}

// parseKibibytes is a line "key: 12 kB" in bytes.
func parseKibibytes(text, key string) int64 { return parseNumber(parseColon(text, key)) << 10 }

// parseNumber is a number in a file of one, 0 if there is none.
func parseNumber(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseNumbers are the numbers of a line, as sysctl files have them.
func parseNumbers(text string) []int64 {
	var numbers []int64
	for _, f := range strings.Fields(text) {
		numbers = append(numbers, parseNumber(f))
	}
	return numbers
}

// parseList counts a list like "0-3,8": processors.
func parseList(text string) (n int) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if from == "" {
			continue
		}
		if !isRange {
			to = from
		}
		n += int(parseNumber(to)-parseNumber(from)) + 1
	}
	return n
}

// parseOpenFiles gives the soft limit of the line "Max open files" of /proc/PID/limits.
func parseOpenFiles(text string) int64 {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, "Max open files"); found {
			if f := strings.Fields(rest); len(f) > 0 {
				return parseNumber(f[0])
			}
		}
	}
	return 0
}

// parseTable reads the form of /proc/net/snmp and netstat: a line of names and a line of numbers for each
// group. The names are "Group.Name".
func parseTable(text string) (map[string]int64, error) {
	table := map[string]int64{}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(numbers) || names[0] != numbers[0] {
			return nil, fmt.Errorf("line %d does not fit line %d", i+2, i+1)
		}
		group := strings.TrimSuffix(names[0], ":")
		for j := 1; j < len(names); j++ {
			n, err := strconv.ParseInt(numbers[j], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", group, names[j], err)
			}
			table[group+"."+names[j]] = n
		}
	}
	return table, nil
}

// parseSockstat gives a value of /proc/net/sockstat, like "TCP" and "mem".
func parseSockstat(text, protocol, key string) int64 {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if name != protocol {
			continue
		}
		f := strings.Fields(rest)
		for i := 0; i+1 < len(f); i += 2 {
			if f[i] == key {
				return parseNumber(f[i+1])
			}
		}
	}
	return 0
}

// cpuTimes are ticks of all processors of a host together.
type cpuTimes struct {
	cores             int
	all, idle, stolen int64
}

// parseCPUTimes reads /proc/stat. Time of guests is in the time of the user already.
func parseCPUTimes(text string) (cpuTimes, error) {
	var t cpuTimes
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(name, "cpu") {
			continue
		}
		if name != "cpu" {
			t.cores++
			continue
		}
		const idleAt, diskAt, stolenAt, guestAt = 3, 4, 7, 8
		n := parseNumbers(rest)
		if len(n) < guestAt {
			return t, errShort
		}
		for _, part := range n[:guestAt] {
			t.all += part
		}
		t.idle, t.stolen = n[idleAt]+n[diskAt], n[stolenAt]
	}
	if t.cores == 0 {
		return t, errShort
	}
	return t, nil
}
