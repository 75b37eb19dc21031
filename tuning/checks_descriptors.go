package tuning

import (
	"cmp"
	"fmt"
	"strings"

	"rookery/tuning/host"
)

const descriptorKey = "RLIMIT_NOFILE"

func descriptorChecks() []Check {
	return []Check{
		{
			Key:      descriptorKey,
			Reason:   "each connection is an open file, and the gateway refuses those over its limit less a reserve of 160, 9 for each event loop, with tls.listen 1,094, with proxy.socket 9, and with webhooks.url webhooks.concurrency and 6",
			Cost:     "none: only files that are open cost memory",
			Avoid:    "never; a limit that keeps connections out belongs into limits.connections",
			Computed: "the connections and the reserve, rounded up to a thousand",
			Source:   "systemd.exec(5), Process Properties, LimitNOFILE=; getrlimit(2)",

			severity: Stops,
			read:     readDescriptors,
			want: func(v *view, now current) string {
				if v.target.Role == LoadGenerator {
					return "" // it starts as many processes as it takes
				}
				if needed := v.descriptors(); now.Number(0) < needed-999 { // less what the rounding added
					return fmt.Sprint(needed)
				}
				return ""
			},
			at: func(v *view, now current) int {
				return int(now.Number(0)) - v.reserve()
			},
			judge: judgeDescriptors,
		}, {
			Key:      "fs.nr_open",
			Reason:   "no limit of open files of a process can be set higher than this",
			Cost:     "none",
			Avoid:    "the target is under a million connections: the default is enough",
			Computed: "as much as RLIMIT_NOFILE needs, if it is less",
			Source:   docFS + ", nr_open",
			roles:    servers(),

			severity: Stops,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				return atLeast(now, v.descriptors())
			},
			at: func(v *view, now current) int { return int(now.Number(0)) - v.reserve() },
		}, {
			Key:      "fs.file-max",
			Reason:   "all programs of the machine together may not have more files open; the kernel's own default follows the memory, systemd lifts it",
			Cost:     "none",
			Avoid:    "systemd or a file has set it to a number with 19 digits: that is no limit",
			Computed: "that for the gateway and what other programs have open now, and a quarter more, if it is less",
			Source:   docFS + ", file-max & file-nr",

			severity: Stops,
			rule:     Rule{Kind: Least},
			want: func(v *view, now current) string {
				needed := (v.otherFiles() + v.descriptors()*v.target.Role.sockets()) * 5 / 4
				return atLeast(now, (needed+999)/1000*1000)
			},
			at: func(v *view, now current) int {
				return int(min(1<<40, (now.Number(0)-v.otherFiles())/v.target.Role.sockets()))
			},
		}, {
			Key:    "limits.d nofile",
			Reason: "lines in limits.conf and limits.d are for logins: PAM sets them, and a systemd unit does not go through PAM",
			Source: "pam_limits(8), Description; systemd.exec(5), Process Properties",
			roles:  servers(),
			read: func(v *view) current {
				lines := v.host.LoginLimits()
				if len(lines) == 0 {
					return known("no file", "none")
				}
				last := lines[len(lines)-1]
				return known(fmt.Sprintf("%s:%d", last.File, last.Line), "%s %s", last.Name, last.Value)
			},
			judge: func(v *view, _ current) verdict {
				unit, set := v.host.Unit.Last("LimitNOFILE")
				for _, line := range v.host.LoginLimits() {
					if v.host.Unit.File != "" && line.Limit() >= v.descriptors() && (!set || unit.Limit() < v.descriptors()) {
						return verdict{severity: Advice,
							says: fmt.Sprintf("%s:%d raises the limit of logins, and %s does not get it", line.File, line.Line, v.host.Unit.Name),
							do:   "set LimitNOFILE= in a drop-in of the unit, as rookery tune apply does"}
					}
				}
				return verdict{}
			},
		},
	}
}

// otherFiles are those that are open now and are not the gateway's.
func (v *view) otherFiles() int64 {
	used := current{v.host.Sysctl("fs.file-nr"), ""}.Number(0)
	if g := v.host.Gateway; g != nil {
		used -= int64(max(0, g.Open))
	}
	return max(8192, (used+8191)/8192*8192) // rounded, so that the wanted value is the same tomorrow
}

// readDescriptors is what the gateway may open: the running one, or what its unit would give it. The Go runtime raises the
// soft limit to the hard one, so that is what counts.
func readDescriptors(v *view) current {
	h := v.host
	if v.target.Role == LoadGenerator {
		return loginLimit(h)
	}
	if g := h.Gateway; g != nil {
		return limitText(g.Hard, fmt.Sprintf("process %d, hard limit; %s", g.PID, unitOrigin(h)), g.Unreadable)
	}
	if h.Unit.File != "" || h.Systemd() {
		return limitText(unitLimit(h), unitOrigin(h), nil)
	}
	return loginLimit(h)
}

// loginLimit is what a program that is started from a login may open: what the files of PAM say, or else this login's. Lines for * are
// not for root (limits.conf(5)), so that there are two limits, of which the lower one is told.
func loginLimit(h *host.Host) current {
	_, hard, err := h.Limits("self")
	own := limitText(hard, "the limit of this login", err)
	if err != nil {
		return own
	}
	lowest := own
	for i, who := range []string{"root", "*"} {
		limit := own
		for _, s := range h.LoginLimits() { // the last one counts
			if f := strings.Fields(s.Name); f[0] == who && f[1] != "soft" {
				limit = limitText(s.Limit(), fmt.Sprintf("%s:%d, for logins %s", s.File, s.Line, []string{"of root", "but root's"}[i]), nil)
			}
		}
		if i == 0 || limit.Number(0) < lowest.Number(0) {
			lowest = limit
		}
	}
	return lowest
}

func limitText(n int64, from string, err error) current {
	if err != nil {
		return missing(err)
	}
	return known(from, "%d", n)
}

// systemdLimit is the hard limit that systemd gives to a unit without a setting, since version 240.
const systemdLimit = 524288

func unitLimit(h *host.Host) int64 {
	if s, set := h.Unit.Last("LimitNOFILE"); set {
		return s.Limit()
	}
	limit := int64(systemdLimit)
	for _, s := range h.DefaultLimits() {
		if s.Name == "DefaultLimitNOFILE" {
			limit = s.Limit()
		}
	}
	return limit
}

func unitOrigin(h *host.Host) string {
	if s, set := h.Unit.Last("LimitNOFILE"); set {
		return fmt.Sprintf("%s:%d says LimitNOFILE=%s", s.File, s.Line, s.Value)
	}
	from := "no LimitNOFILE in a unit " + h.Unit.Name
	for _, s := range h.DefaultLimits() {
		if s.Name == "DefaultLimitNOFILE" {
			from = fmt.Sprintf("%s:%d says DefaultLimitNOFILE=%s", s.File, s.Line, s.Value)
		}
	}
	return from
}

// judgeDescriptors tells a process that was started before its unit was changed.
func judgeDescriptors(v *view, now current) verdict {
	if v.target.Role == LoadGenerator {
		return verdict{says: "rookery bench starts as many processes as it takes"}
	}
	g := v.host.Gateway
	needed := v.descriptors() - 999
	if g == nil || g.Unit == "" || g.Hard >= needed || unitLimit(v.host) < needed {
		return verdict{}
	}
	_, others := otherLimit(v)
	if _, own := ownLimit(v); !own && !others {
		return verdict{} // an older systemd has a lower default
	}
	at := int(now.Number(0)) - v.reserve()
	return verdict{severity: Stops, at: max(0, at), wanted: fmt.Sprint(v.descriptors()),
		says: fmt.Sprintf("it holds %s connections; the unit allows %s already, and the process is older than that", number(max(0, at)), number(unitLimit(v.host))),
		do:   "systemctl restart " + cmp.Or(g.Unit, v.host.Unit.Name)}
}

// bounded says whether neither a unit nor a login can be given as many files: fs.nr_open is less and can't be set from here, or the first process of a
// container may not open as many itself.
func (v *view) bounded(wanted string) bool {
	const most = "fs.nr_open"
	needed := (host.Reading{Text: wanted}).Number(0)
	if now := v.host.Sysctl(most); now.Err == nil && now.Number(0) < needed && v.host.WhyFixed(host.SysctlPath(most)) != "" {
		return true
	}
	_, hard, err := v.host.Limits("1")
	return v.host.Place.Mapped && err == nil && hard < needed
}

// atLeast is a wanted number where the current one is lower.
func atLeast(now current, wanted int64) string {
	if now.Number(0) >= wanted {
		return ""
	}
	return fmt.Sprint(wanted)
}
