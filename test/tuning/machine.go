package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// settle makes the namespaces a machine: /etc and /var/lib are copies, /proc and /sys those of the namespaces, and there is loopback.
func settle(work string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part the mounts from the machine's: %w", err)
	}
	etc, lib := filepath.Join(work, "etc"), filepath.Join(work, "lib")
	if said, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w\n%s", err, said)
	}
	if err := os.Mkdir(lib, 0o755); err != nil {
		return err
	}
	for _, m := range []struct {
		from, at, kind string
		flags          uintptr
	}{{etc, "/etc", "", unix.MS_BIND}, {lib, "/var/lib", "", unix.MS_BIND}, {"proc", "/proc", "proc", 0}, {"sysfs", "/sys", "sysfs", 0}} {
		if err := unix.Mount(m.from, m.at, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return bringUp("lo")
}

func bringUp(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// loginLimit gives logins of the namespaces a limit of open files, as an untuned machine has it. It is done by a file of PAM, since
// a process that has lowered its own limit may not be able to raise it again.
func loginLimit(n int) error {
	return os.WriteFile("/etc/security/limits.d/10-untuned.conf", fmt.Appendf(nil, "*    - nofile %d\nroot - nofile %[1]d\n", n), 0o644)
}

// counting are files below /proc/sys that change by themselves, or that others who share the kernel change.
var counting = []string{"/fs/file-nr", "/fs/inode-nr", "/fs/inode-state", "/fs/dentry-state", "/fs/aio-nr", "/fs/quota/", "/kernel/random/", "/kernel/ns_last_pid", "/kernel/pty/nr",
	"/kernel/cap_last_cap", "/net/netfilter/nf_conntrack_count", "/kernel/keys/", "/kernel/tainted"}

// snapshot is everything of /proc/sys and /etc: values, contents, rights.
func snapshot() (map[string]string, error) { return snapshotOf("/proc/sys", "/etc") }

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
		if strings.HasPrefix(name, "/proc/sys/") {
			only[name] = text
		}
	}
	return only
}
