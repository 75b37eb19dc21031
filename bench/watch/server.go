package watch

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"rookery/bench/result"
)

const (
	// mostThreads bounds how many threads of a process are looked at for the busiest: the look has to cost nothing.
	mostThreads = 256
	// mostDescriptors bounds the counting one by one, on kernels before 6.2. A list of 500,000 each second
	// would take a tenth of a core from what is measured.
	mostDescriptors = 10_000
)

// server is the server's processes on this host, none if it is not seen.
type server struct {
	root      fs.FS
	processes []*process
	unseen    string // why nothing or not all is seen
}

// process is one of them, with what the next second grows from.
type process struct {
	pid      int
	name     string
	started  uint64
	cpu      time.Duration
	system   time.Duration            // of cpu
	threads  map[string]time.Duration // how long each thread ran
	at       time.Time
	mayUse   float64 // cores
	mayOpen  int64
	hasEnded bool
}

// add takes a process, if it can be read.
func (s *server) add(pid int) {
	stat, err := parseTaskStat(readText(s.root, inProc(pid, "stat")))
	if err != nil {
		return
	}
	p := &process{
		pid: pid, name: strings.TrimSpace(readText(s.root, inProc(pid, "comm"))), started: stat.started, cpu: stat.cpu, system: stat.system,
		mayUse: coresOf(s.root, pid), mayOpen: parseOpenFiles(readText(s.root, inProc(pid, "limits"))),
	}
	s.processes = append(s.processes, p)
}

// network is the folder with the counters of the server's network namespace: this process's own where it is the same
// one, since that does not go away with the server.
func (s *server) network() string {
	const own = "proc/self"
	if len(s.processes) > 0 {
		mine, err := fs.ReadLink(s.root, own+"/ns/net")
		theirs, errTheirs := fs.ReadLink(s.root, inProc(s.processes[0].pid, "ns", "net"))
		if err == nil && errTheirs == nil && mine != theirs {
			return inProc(s.processes[0].pid, "net")
		}
	}
	return own + "/net"
}

// second adds up what the processes used since the one before. A process that has ended is told of once and for
// all; another one that takes its place is not looked for.
func (s *server) second(now time.Time) result.Process {
	sum := result.Process{}
	for _, p := range s.processes {
		if p.hasEnded {
			continue
		}
		stat, err := parseTaskStat(readText(s.root, inProc(p.pid, "stat")))
		if err != nil || stat.started != p.started {
			p.hasEnded = true
			s.unseen = fmt.Sprintf("the server's process %d (%s) ended during the run", p.pid, p.name)
			continue
		}
		sum.Seen = true
		sum.CPUSeconds += (stat.cpu - p.cpu).Seconds()
		sum.SystemSeconds += (stat.system - p.system).Seconds()
		p.cpu, p.system = stat.cpu, stat.system
		sum.BusiestThread = max(sum.BusiestThread, p.busiestThread(s.root, now))
		// Processes that share processors may use them once.
		sum.Cores = max(sum.Cores, p.mayUse)
		sum.MemoryBytes += stat.pages * int64(os.Getpagesize())
		sum.Descriptors += countDescriptors(s.root, p.pid)
		sum.DescriptorsMax += p.mayOpen
		sum.Threads += stat.threads
	}
	sum.Unseen = s.unseen
	return sum
}

// busiestThread is the share of the time since the last look in which the busiest thread ran.
func (p *process) busiestThread(root fs.FS, now time.Time) (share float64) {
	took := now.Sub(p.at)
	first := p.at.IsZero()
	p.at = now
	folder, err := root.Open(inProc(p.pid, "task"))
	if err != nil {
		return 0
	}
	defer folder.Close()
	list, ok := folder.(fs.ReadDirFile)
	if !ok {
		return 0
	}
	entries, err := list.ReadDir(mostThreads)
	if err != nil {
		return 0
	}
	threads := make(map[string]time.Duration, len(entries))
	for _, entry := range entries {
		ran, _, err := parseSchedstat(readText(root, inProc(p.pid, "task", entry.Name(), "schedstat")))
		if err != nil {
			continue // it ended between the two reads
		}
		threads[entry.Name()] = ran
		if before, known := p.threads[entry.Name()]; known && !first && took > 0 && ran >= before {
			share = max(share, min(1, float64(ran-before)/float64(took)))
		}
	}
	p.threads = threads
	return share
}

// countDescriptors asks the kernel, which tells the number as the size of the folder since 6.2. Older ones
// tell 0: there they are counted, up to mostDescriptors.
func countDescriptors(root fs.FS, pid int) int64 {
	folder, err := root.Open(inProc(pid, "fd"))
	if err != nil {
		return 0
	}
	defer folder.Close()
	if info, err := folder.Stat(); err == nil && info.Size() > 0 {
		return info.Size()
	}
	list, ok := folder.(fs.ReadDirFile)
	if !ok {
		return 0
	}
	entries, err := list.ReadDir(mostDescriptors)
	if err != nil && err != io.EOF {
		return 0
	}
	return int64(len(entries))
}

// coresOf is how many processors a process may use: those of its affinity, or less where its control group or one
// above has a quota (of version 2; those of version 1 are not looked for).
func coresOf(root fs.FS, pid int) float64 {
	cores := float64(parseList(parseColon(readText(root, inProc(pid, "status")), "Cpus_allowed_list")))
	for line := range strings.Lines(readText(root, inProc(pid, "cgroup"))) {
		group, found := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !found {
			continue
		}
		for {
			quota := strings.Fields(readText(root, strings.TrimSuffix("sys/fs/cgroup/"+group, "/")+"/cpu.max"))
			if len(quota) == 2 && quota[0] != "max" && parseNumber(quota[1]) > 0 {
				cores = min(cores, float64(parseNumber(quota[0]))/float64(parseNumber(quota[1])))
			}
			if group == "" {
				break
			}
			group = group[:max(0, strings.LastIndexByte(group, '/'))]
		}
	}
	return cores
}
