package tuning

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

func surroundingChecks() []Check {
	return []Check{
		{
			Key:    "tls module",
			Reason: "with this module and tls.kernel: auto the kernel opens and seals the gateway's records of TLS, with less memory for each connection; proxies may use it, too",
			Source: "Linux Documentation/networking/tls.rst",
			roles:  servers(),
			read: func(v *view) current {
				if v.host.Module("tls") {
					return known("/proc/modules", "loaded")
				}
				return known("/proc/modules", "not loaded")
			},
			judge: func(v *view, now current) verdict { return verdict{} },
		}, {
			Key:    "files of settings",
			Reason: "a value is in force until the next boot only, unless a file has it; files are read as sysctl.d(5), systemd.unit(5) and pam_limits(8) say",
			Source: "sysctl.d(5), Configuration Directories and Precedence; systemd.unit(5), Unit File Load Path; pam_limits(8), Description",
			read: func(v *view) current {
				return known("/etc/sysctl.d, /etc/systemd, /etc/security and the like", "%d lines for sysctl", len(v.host.Assignments()))
			},
			judge: func(v *view, _ current) verdict {
				if closed := v.host.Closed(); len(closed) > 0 {
					return verdict{severity: Unknown, says: "this user may not read " + strings.Join(closed, ", ") + ": what they set, and bad advice in them, is not seen; run as root"}
				}
				return verdict{}
			},
		}, {
			Key:    "firewall",
			Reason: "a filter that does not let the gateway's port through keeps every client out",
			Source: "nft(8); iptables-save(8); ufw(8)",
			roles:  []Role{Gateway},
			read:   readFirewall,
			judge:  judgeFirewall,
		}, {
			Key:    "time synchronisation",
			Reason: "tokens have an end and messages a time: a clock that is off refuses the one and misdates the other",
			Source: "adjtimex(2); docs/configuration.md, auth.leeway",
			read: func(v *view) current {
				synchronised, err := v.host.ClockSynchronized()
				switch {
				case err == nil && synchronised:
					return known("adjtimex(2)", "the kernel's clock is synchronised")
				case err == nil:
					return known("adjtimex(2)", "the kernel's clock is not synchronised")
				}
				for _, file := range []string{"run/systemd/timesync/synchronized", "run/chrony/chronyd.pid", "run/chrony", "run/ntpd.pid"} {
					if _, err := fs.Stat(v.host.FS(), file); err == nil {
						return known("/"+file, "a program for it runs")
					}
				}
				return known("adjtimex(2)", "not known")
			},
			judge: func(v *view, now current) verdict {
				if !strings.Contains(now.Text, "is not") {
					return verdict{}
				}
				// A virtual machine whose clock is the host's looks like this, too.
				return verdict{severity: Advice, says: "no program keeps the clock right, or it has not found its servers yet", do: "run chrony or systemd-timesyncd; timedatectl shows how it stands"}
			},
		}, {
			Key:    "file system of the log",
			Reason: "the log appends and syncs: what can't sync, or asks a network for it, loses the promise or the speed",
			Source: "docs/storage.md; fsync(2)",
			roles:  servers(),
			read: func(v *view) current {
				dir := v.dataDirectory()
				if dir == "" {
					return known("--data names the directory", "not known")
				}
				return known(dir, "%s", orUnknown(v.host.FileSystem(dir)))
			},
			judge: func(v *view, now current) verdict {
				switch {
				case now.Text == "tmpfs" || now.Text == "ramfs":
					return verdict{severity: Hurts, says: "it is memory: all messages are gone with the next boot", do: "move the directory to a disk"}
				case slices.Contains([]string{"nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "overlay"}, now.Text):
					return verdict{severity: Advice, says: "measure it with --data, and mount a volume in a container", do: "move the directory to a disk of this machine"}
				}
				return verdict{}
			},
		}, {
			Key:    "fsync of the log",
			Reason: "a message is acknowledged when it is synced, so this is the least that a publisher waits; the syncs of many messages are one",
			Source: "docs/storage.md; docs/configuration.md, log.sync",
			roles:  servers(),
			read:   readSync,
			judge: func(v *view, now current) verdict {
				times, err := v.syncTimes()
				const slow, verySlow = 5 * time.Millisecond, 25 * time.Millisecond
				if err != nil || len(times) == 0 {
					return verdict{}
				}
				switch median := times[len(times)/2]; {
				case median >= verySlow:
					return verdict{severity: Hurts, says: "half of the messages wait longer than that for the disk alone", do: "use another disk, or log.sync: interval where the last moments may be lost"}
				case median >= slow:
					return verdict{severity: Advice, says: "a disk with a cache that survives power loss takes a tenth of it", do: "use another disk where the latency matters"}
				}
				return verdict{}
			},
		}, {
			Key:    "free disk",
			Reason: "a gateway whose disk is full takes no messages until there is space",
			Source: "docs/storage.md; docs/configuration.md, retention.bytes",
			roles:  servers(),
			read: func(v *view) current {
				dir := v.dataDirectory()
				if dir == "" {
					return known("--data names the directory", "not known")
				}
				free, total, err := v.host.Free(dir)
				if err != nil {
					return known(dir, "not known")
				}
				return known(dir, "%s of %s", size(free), size(total))
			},
			judge: func(v *view, _ current) verdict {
				dir := v.dataDirectory()
				if dir == "" {
					return verdict{}
				}
				free, total, err := v.host.Free(dir)
				const few = 1 << 30
				switch {
				case err != nil || free >= total/10 && free >= few:
					return verdict{}
				case free < few/4:
					return verdict{severity: Hurts, says: size(free) + " are left", do: "make space, or set retention.age or retention.bytes"}
				}
				return verdict{severity: Advice, says: size(free) + " are left", do: "watch it, and set retention.age or retention.bytes"}
			},
		},
	}
}

// dataDirectory is the one that was asked for, or the running gateway's.
func (v *view) dataDirectory() string {
	if v.target.Data != "" || v.host.Gateway == nil {
		return v.target.Data
	}
	return v.host.Gateway.Data()
}

func orUnknown(text string) string {
	if text == "" {
		return "not known"
	}
	return text
}

// syncTimes measures, once, and only in a directory that was named: it writes there.
func (v *view) syncTimes() ([]time.Duration, error) {
	const syncs = 50
	if v.syncs == nil && v.syncErr == nil && v.target.Data != "" {
		v.syncs, v.syncErr = v.host.SyncTimes(v.target.Data, syncs)
	}
	return v.syncs, v.syncErr
}

func readSync(v *view) current {
	times, err := v.syncTimes()
	switch {
	case err != nil:
		return known(v.target.Data, "not measured: %v", err)
	case len(times) == 0:
		return known("--data DIR measures it", "not measured")
	}
	return known(fmt.Sprintf("%d syncs of 4 KiB in %s", len(times), v.target.Data), "%s at the median, %s at most",
		times[len(times)/2].Round(10*time.Microsecond), times[len(times)-1].Round(10*time.Microsecond))
}
