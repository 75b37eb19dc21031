package tuning

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"rookery/tuning/host"
)

// folklore is advice that is copied from page to page, and what is wrong with it.
type folklore struct {
	key      string
	severity Severity
	hurts    func(v *view, value []int64) bool // where it is worse than severity; nil: nowhere
	bad      func(v *view, value []int64) bool // nil: always
	reason   string
	source   string
	do       string
}

func allFolklore() []folklore {
	first := func(v []int64) int64 { return v[0] }
	return []folklore{
		{
			key: "net.ipv4.tcp_tw_recycle", severity: Advice,
			hurts:  func(v *view, n []int64) bool { return v.host.Kernel.Before(4, 12) && len(n) > 0 && first(n) != 0 },
			reason: "it was taken out of Linux 4.12: it refused connections of clients that share an address behind NAT, whose clocks differ",
			source: "Linux commit 4396e46187ca, tcp: remove tcp_tw_recycle", do: "remove the line; on a kernel before 4.12 set it to 0",
		}, {
			key: "net.ipv4.tcp_tw_reuse", severity: Advice,
			bad:    func(v *view, n []int64) bool { return first(n) == 1 && v.target.Role == Gateway },
			reason: "it is for connections that this machine opens: for those that it accepts it does nothing",
			source: docIP + ", TCP variables, tcp_tw_reuse", do: "remove the line; it does no harm",
		}, {
			key: "net.ipv4.tcp_mem", severity: Hurts,
			bad: func(v *view, n []int64) bool {
				return len(n) == 3 && tooMuchTCPMemory(v.host, n[2])
			},
			reason: "it is in pages and was made for a larger machine: the kernel gives out memory for buffers that is not there, and kills programs before it saves",
			source: docIP + ", TCP variables, tcp_mem", do: "remove the line: the default follows the memory, and rookery tune plan computes the rest",
		}, {
			key: "net.core.rmem_max", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) > 16<<20 },
			reason: "it bounds what programs ask for with SO_RCVBUF. TCP's autotuning does not ask, tcp_rmem bounds it; and a program that does ask gets that much for each socket",
			source: "tcp(7), tcp_rmem; " + docNet + ", rmem_max", do: "remove the line, unless a program for UDP asks for it",
		}, {
			key: "net.core.wmem_max", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) > 16<<20 },
			reason: "it bounds what programs ask for with SO_SNDBUF. TCP's autotuning does not ask, tcp_wmem bounds it",
			source: "tcp(7), tcp_wmem; " + docNet + ", wmem_max", do: "remove the line, unless a program for UDP asks for it",
		}, {
			key: "net.core.rmem_default", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) > 4<<20 },
			reason: "every socket that is not of TCP begins with it, and TCP does not look at it",
			source: docNet + ", rmem_default", do: "remove the line",
		}, {
			key: "vm.swappiness", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) < 10 },
			reason: "a low number does not keep the gateway out of swap; it makes the kernel drop the page cache instead, through which the log is read, and with 0 kill programs earlier",
			source: docVM + ", swappiness", do: "remove the line; MemorySwapMax=0 in the unit keeps the gateway out of swap",
		}, {
			key: "net.ipv4.tcp_timestamps", severity: Hurts,
			bad:    func(_ *view, n []int64) bool { return first(n) == 0 },
			reason: "without timestamps connections made by a SYN cookie lose window scaling, and round trips are measured badly",
			source: docIP + ", TCP variables, tcp_timestamps", do: "remove the line",
		}, {
			key: "net.ipv4.tcp_sack", severity: Hurts,
			bad:    func(_ *view, n []int64) bool { return first(n) == 0 },
			reason: "without it one lost packet makes all that follow be sent again; the fault for which it was turned off in 2019 is mended",
			source: docIP + ", TCP variables, tcp_sack", do: "remove the line",
		}, {
			key: "net.ipv4.tcp_fin_timeout", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) < 10 },
			reason: "it is not the time of TIME_WAIT, which is fixed at a minute: it ends connections of programs that have gone, whose other side has not closed yet",
			source: docIP + ", TCP variables, tcp_fin_timeout", do: "remove the line",
		}, {
			key: "net.ipv4.tcp_max_tw_buckets", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) < 8192 },
			reason: "a low number saves kilobytes, and lets late packets of a closed connection reach a new one",
			source: docIP + ", TCP variables, tcp_max_tw_buckets", do: "remove the line",
		}, {
			key: "net.ipv4.tcp_syncookies", severity: Hurts,
			bad:    func(_ *view, n []int64) bool { return first(n) == 2 },
			reason: "2 sends a cookie for every connection, which is for tests: connections lose options of TCP without need",
			source: docIP + ", TCP variables, tcp_syncookies", do: "set 1",
		}, {
			key: "fs.file-max", severity: Advice, // the check of the key stops the target where the line is in force
			bad: func(v *view, n []int64) bool {
				return first(n) < (v.otherFiles()+v.descriptors())*5/4
			},
			reason: "the number was large once: it is under what the target opens, and under what systemd would set",
			source: docFS + ", file-max & file-nr", do: "remove the line",
		}, {
			key: "vm.overcommit_memory", severity: Advice,
			bad:    func(_ *view, n []int64) bool { return first(n) == 1 },
			reason: "1 is for a database that forks; the gateway does not, and with it programs are killed instead of being refused memory",
			source: docVM + ", overcommit_memory", do: "remove the line, unless another program of the machine asks for it",
		},
	}
}

// badAdvice looks for it in the system's files.
func badAdvice(v *view) (found []Finding) {
	for _, a := range v.host.Assignments() {
		if a.File == "/"+SysctlFile {
			continue
		}
		for _, f := range allFolklore() {
			if f.key != a.Key {
				continue
			}
			numbers := (host.Reading{Text: a.Value}).Numbers()
			if f.bad != nil && (len(numbers) == 0 || !f.bad(v, numbers)) {
				continue
			}
			severity := f.severity
			if f.hurts != nil && f.hurts(v, numbers) {
				severity = Hurts
			}
			if decides, _ := v.host.AtBoot(a.Key); a.Ignored != "" || decides != a {
				severity = Advice // it does nothing, until somebody moves a file
			}
			found = append(found, Finding{Key: "advice: " + a.Key, Severity: severity, Current: a.Value, From: fmt.Sprintf("%s:%d", a.File, a.Line),
				Reason: f.reason, Source: f.source, Do: f.do})
		}
	}
	return append(found, append(unreadFiles(v), badLimits(v)...)...)
}

// unreadFiles tells of files whose lines do nothing.
func unreadFiles(v *view) (found []Finding) {
	last := ""
	for _, a := range v.host.Assignments() {
		if a.Ignored == "" || a.File == last {
			continue
		}
		last = a.File
		if path.Base(a.File) != "sysctl.conf" { // to replace a file by one of its name is how sysctl.d(5) has it
			found = append(found, Finding{Key: a.File, Severity: Fine, Current: "not read at boot", From: a.File, Says: a.Ignored,
				Reason: "of files with one name only that in the first directory is read", Source: "sysctl.d(5), Configuration Directories and Precedence"})
			continue
		}
		found = append(found, Finding{Key: "advice: " + a.File, Severity: Advice, Current: "not read at boot", From: a.File, Says: a.Ignored,
			Reason: "whoever wrote the file believes that its lines are in force", Source: "sysctl.d(5), Configuration Directories and Precedence; Debian 13 release notes, /etc/sysctl.conf is no longer honored",
			Do: "move the lines into a file in /etc/sysctl.d"})
	}
	return found
}

// badLimits tells of limits of a unit that are under the target.
func badLimits(v *view) (found []Finding) {
	needed := v.descriptors() - 999
	lines := append(v.host.DefaultLimits(), v.host.Unit.Settings...)
	deciding, _ := v.host.Unit.Last("LimitNOFILE")
	for _, s := range lines {
		if !strings.HasSuffix(s.Name, "LimitNOFILE") || s.Limit() >= needed || s.File == "/"+DropIn(v.host.Unit.Name) {
			continue
		}
		// What a later drop-in overrules does nothing.
		if deciding.File != "" && deciding != s {
			continue
		}
		do := "rookery tune apply puts a drop-in behind it"
		if slices.Contains(limitsAfterOurs(v), s) {
			do = takeOut(s)
		}
		found = append(found, Finding{Key: "advice: " + s.Name, Severity: Advice, Current: s.Value,
			From:   fmt.Sprintf("%s:%d", s.File, s.Line),
			Wanted: strconv.FormatInt(v.descriptors(), 10), Reason: "a limit like 65536 stands in many units that were copied, and was meant for fewer connections",
			Source: "systemd.exec(5), Process Properties, LimitNOFILE=", Do: do})
	}
	return found
}
