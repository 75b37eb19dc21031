package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rookery/tuning"
	"rookery/tuning/host"
)

// debian is a Debian with systemd in a virtual machine, which is the play's alone. Its gateway is a unit, a firewall tracks
// connections, and boots are boots.
type debian struct{}

func (debian) name() string { return "Debian with systemd" }

func (debian) settle(string) error {
	// Until everything that belongs to a boot is done, values may still change. The status is that of units that failed.
	said, _, err := output(exec.Command("systemctl", "is-system-running", "--wait"))
	if state := strings.TrimSpace(said); err == nil && state != "running" {
		units, _, err := output(exec.Command("systemctl", "--failed", "--no-legend"))
		return errors.Join(err, fmt.Errorf("the machine is %s: %s", state, units))
	}
	return err
}

const (
	unitFile  = "/etc/systemd/system/rookery.service"
	tableFile = "/etc/sysctl.d/50-table.conf"
	tableKey  = "net.netfilter.nf_conntrack_max"
)

// filesOf is the limit that stands in many units that were copied, or where the target is less, two thirds of that.
func filesOf(connections int) int { return min(65536, connections*2/3) }

// tableOf is about the table that the kernel makes on a machine of 2 GB, or where the target is less, a sixth of that.
func tableOf(connections int) int { return min(16384, connections/6) }

// heartbeatFor gives an emulated processor time: with the default of 25 s, 100,000 connections would ask it for 4,000 answers a
// second, beside those that connect, and the gateway would close who can't give his in time. So it has one in 6 ms. handshakeTime is the same
// for those that connect.
func heartbeatFor(connections int) time.Duration {
	return max(25*time.Second, time.Duration(connections)*6*time.Millisecond)
}

const handshakeTime = time.Minute

func (d debian) untune(connections int) error {
	unit := fmt.Sprintf("[Unit]\nDescription=Rookery\n\n[Service]\nExecStart=/usr/local/bin/rookery serve --dev --listen %s --data /var/lib/rookery --heartbeat %v --limits.handshake-timeout %v\nLimitNOFILE=%d\n",
		address, heartbeatFor(connections), handshakeTime, filesOf(connections))
	table := fmt.Sprintf("%s = %d\n", tableKey, tableOf(connections))
	if err := os.WriteFile(unitFile, []byte(unit), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(tableFile, []byte(table), 0o644); err != nil {
		return err
	}
	return all(exec.Command("systemctl", "daemon-reload"), exec.Command("systemctl", "restart", "systemd-sysctl"))
}

func (debian) lift(key string, connections int) error {
	if key != tableKey {
		return fmt.Errorf("%s is not met here", key)
	}
	return os.WriteFile("/"+host.SysctlPath(key), []byte(strconv.Itoa(connections*2)), 0o644)
}

func (debian) start(context.Context, *play) (stop func() error, err error) {
	if err := os.RemoveAll("/var/lib/rookery"); err != nil {
		return nil, err
	}
	return func() error { return all(exec.Command("systemctl", "stop", "rookery")) }, all(exec.Command("systemctl", "start", "rookery"))
}

// verify asks systemd what it makes of the drop-in, and sysctl of the settings. What udev makes of its rule shows when the machine boots.
func (debian) verify(_ context.Context, p *play) error {
	said, status, err := output(exec.Command("systemd-analyze", "verify", unitFile))
	if err := failed("systemd-analyze verify", said, status, 0, err); err != nil {
		return err
	}
	if said != "" {
		return fmt.Errorf("systemd-analyze verify: %s", said)
	}
	said, _, err = output(exec.Command("systemctl", "show", "--property=LimitNOFILE", "--value", "rookery"))
	if err != nil {
		return err
	}
	if want := strconv.Itoa((p.connections + tuning.Reserve(2, tuning.Target{}) + 999) / 1000 * 1000); strings.TrimSpace(said) != want {
		return fmt.Errorf("systemd gives the unit %s open files, want %s", strings.TrimSpace(said), want)
	}
	// The other program that loads settings reads the same files in an order of its own.
	if err := all(exec.Command("sysctl", "--quiet", "--system")); err != nil {
		return err
	}
	now, err := snapshot()
	if err != nil {
		return err
	}
	if wrong := differences(p.memory.Applied, now); len(wrong) > 0 {
		return fmt.Errorf("after sysctl --system these differ: %s", told(wrong, p.memory.Applied, now))
	}
	p.tell("systemd has nothing to say about the unit with its drop-in, and gives it %d open files", (p.connections+tuning.Reserve(2, tuning.Target{})+999)/1000*1000)
	return nil
}

func (debian) boot(_ context.Context, p *play) error {
	if err := p.remember(); err != nil {
		return err
	}
	return errBoots
}

func (debian) owns(string) bool { return true }

// filesOfMachine are files of ours in the machine, by their names there, which it boots with.
func filesOfMachine(work string) (map[string]string, error) {
	files := map[string]string{}
	for name, text := range map[string]string{
		"etc/systemd/system/play.service": "[Unit]\nDescription=The play of rookery's test/tuning\nAfter=network-online.target\nWants=network-online.target\n\n" +
			"[Service]\nExecStart=/usr/local/bin/play " + guestWord + "\nLimitNOFILE=1048576\nTasksMax=infinity\nStandardOutput=journal+console\nStandardError=journal+console\n",
		"etc/systemd/network/10-all.network": "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
		"etc/nftables.conf": "flush ruleset\n\ntable inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t\tct state established,related accept\n" +
			"\t\tiif lo accept\n\t\ttcp dport { 22, 8080 } accept\n\t\ticmp type echo-request accept\n\t}\n}\n",
		"etc/hostname": "machine\n",
		"etc/fstab":    "/dev/vda / ext4 defaults 0 1\n",
	} {
		files[name] = filepath.Join(work, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(files[name], []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for name, target := range map[string]string{
		"etc/systemd/system/multi-user.target.wants/play.service":                             "/etc/systemd/system/play.service",
		"etc/systemd/system/multi-user.target.wants/systemd-networkd.service":                 "/lib/systemd/system/systemd-networkd.service",
		"etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service": "/lib/systemd/system/systemd-networkd-wait-online.service",
		"etc/systemd/system/sysinit.target.wants/nftables.service":                            "/lib/systemd/system/nftables.service",
		"etc/systemd/system/getty.target.wants/getty@tty1.service":                            "/dev/null",
		"etc/systemd/system/apt-daily.timer":                                                  "/dev/null",
		"etc/systemd/system/apt-daily-upgrade.timer":                                          "/dev/null",
		"etc/systemd/system/dpkg-db-backup.timer":                                             "/dev/null",
		"etc/systemd/system/e2scrub_all.timer":                                                "/dev/null",
		"etc/systemd/system/ldconfig.service":                                                 "/dev/null", // it writes to /etc at boot
		"etc/systemd/system/serial-getty@ttyS0.service":                                       "/dev/null",
	} {
		files[name] = filepath.Join(work, strings.ReplaceAll(name, "/", "_"))
		if err := os.Symlink(target, files[name]); err != nil {
			return nil, err
		}
	}
	return files, nil
}
