package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// counting are files below /proc/sys that change by themselves, or that others who share the kernel change.
var counting = []string{"/fs/file-nr", "/fs/inode-nr", "/fs/inode-state", "/fs/dentry-state", "/fs/aio-nr", "/fs/quota/", "/kernel/random/", "/kernel/ns_last_pid", "/kernel/pty/nr",
	"/kernel/cap_last_cap", "/net/netfilter/nf_conntrack_count", "/kernel/keys/", "/kernel/tainted", "/kernel/perf_event_max_sample_rate",
	"/vm/user_reserve_kbytes", "/vm/admin_reserve_kbytes"} // of the memory that happens to be free at boot

// settingsOfQueues are the files of a card's queue that somebody may set.
var settingsOfQueues = []string{"rps_cpus", "rps_flow_cnt", "xps_cpus", "xps_rxqs", "tx_maxrate"}

// snapshot is everything of /proc/sys and /etc, and how the queues of network cards are spread: values, contents, rights.
func snapshot() (map[string]string, error) {
	queues, err := filepath.Glob("/sys/class/net/*/queues")
	if err != nil {
		return nil, err
	}
	roots := []string{"/proc/sys", "/etc"}
	for _, dir := range queues {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return nil, err
		}
		roots = append(roots, real)
	}
	return snapshotOf(roots...)
}

func snapshotOf(roots ...string) (map[string]string, error) {
	all := map[string]string{}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if root == "/proc/sys" && slices.ContainsFunc(counting, func(part string) bool { return strings.HasPrefix(name, root+part) }) {
				return nil
			}
			// Of a queue of a card its counters are no settings.
			if strings.HasPrefix(root, "/sys/") && !entry.IsDir() && !slices.Contains(settingsOfQueues, entry.Name()) {
				return nil
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			text := info.Mode().String()
			switch {
			case entry.Type()&fs.ModeSymlink != 0:
				target, err := os.Readlink(name)
				if err != nil {
					return err
				}
				text += " " + target
			case entry.Type().IsRegular() && info.Mode().Perm()&0o444 != 0:
				b, err := os.ReadFile(name)
				if err != nil {
					b = []byte(err.Error()) // some of the kernel's can only be read by some
				}
				if !utf8.Valid(b) { // what is remembered over a boot is text
					b = fmt.Appendf(nil, "%x", sha256.Sum256(b))
				}
				text += " " + string(b)
			}
			all[name] = text
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// differences names what differs.
func differences(before, after map[string]string) (names []string) {
	for name := range before {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// values are those of the snapshot that are settings of the kernel.
func values(all map[string]string) map[string]string {
	only := map[string]string{}
	for name, text := range all {
		if strings.HasPrefix(name, "/proc/sys/") || strings.HasPrefix(name, "/sys/") && slices.Contains(settingsOfQueues, filepath.Base(name)) {
			only[name] = text
		}
	}
	return only
}
