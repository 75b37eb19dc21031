package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recordedMachine is one of those whose trees are in tuning/hosttest/testdata/recorded.
type recordedMachine struct {
	name       string
	suite      string
	processors int
	memoryMiB  int
	comment    string
	files      map[string]string // that it boots with, beside those of every machine
}

const (
	debian11 = "bullseye"
	debian12 = "bookworm"
	debian13 = "trixie"
)

// recordedMachines are sizes that are rented, kernels of three releases, and one whose administrators copied much.
var recordedMachines = []recordedMachine{
	{"vps-1gb", debian12, 1, 1 << 10, "Debian 12 with 1 GB and one processor.", nil},
	{"vps-2gb", debian12, 1, 2 << 10, "Debian 12 with 2 GB and one processor.", nil},
	{"vps-4gb", debian12, 2, 4 << 10, "Debian 12 with 4 GB and two processors.", nil},
	{"vps-8gb", debian12, 4, 8 << 10, "Debian 12 with 8 GB and four processors.", nil},
	{"vps-16gb", debian12, 8, 16 << 10, "Debian 12 with 16 GB and eight processors.", nil},
	{"old-kernel", debian11, 2, 2 << 10, "Debian 11, with a kernel of 2020, 2 GB and two processors.", nil},
	{"new-kernel", debian13, 2, 2 << 10, "Debian 13, which does not read /etc/sysctl.conf, with 2 GB and two processors.", map[string]string{
		"etc/sysctl.conf": "net.core.somaxconn = 32768\n",
	}},
	{"conflicts", debian12, 2, 2 << 10, "Debian 12 with 2 GB and two processors, that has booted with copied advice and drop-ins that contradict each other.", map[string]string{
		"etc/sysctl.d/10-network.conf": "net.ipv4.tcp_syncookies = 0\nnet.core.somaxconn = 65535\n",
		"etc/sysctl.d/60-copied.conf": "# From a page about a database server\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_mem = 1048576 2097152 3145728\n" +
			"net/core/rmem_max = 134217728\nvm.swappiness = 1\nnet.ipv4.tcp_fin_timeout = 5\n",
		"usr/lib/sysctl.d/60-copied.conf":                     "net.core.somaxconn = 2048\n",
		"etc/sysctl.d/zzz-last.conf":                          "net.core.somaxconn = 1024\n",
		"etc/sysctl.d/90-off.conf":                            "-net.ipv4.no_such_key = 1\n",
		"etc/security/limits.d/90-files.conf":                 "* - nofile 1000000\n",
		"etc/systemd/system/rookery.service":                  "[Unit]\nDescription=Rookery\n\n[Service]\nExecStart=/usr/local/bin/rookery serve --dev --listen 127.0.0.1:8080 --data /var/lib/rookery\nLimitNOFILE=65536\n",
		"etc/systemd/system/rookery.service.d/10-limits.conf": "[Service]\nLimitNOFILE=100000\n",
	}},
}

// recordMachines boots those whose names are given, or all, and writes their trees into a directory.
func recordMachines(ctx context.Context, dir, names string, work string, progress io.Writer) error {
	wanted := strings.Split(names, ",")
	for _, m := range recordedMachines {
		if names != "all" && !slices.Contains(wanted, m.name) {
			continue
		}
		if err := m.record(ctx, dir, filepath.Join(work, m.name), progress); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(progress, "%s is recorded\n", m.name)
	}
	return nil
}

func (m recordedMachine) record(ctx context.Context, dir, work string, progress io.Writer) error {
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	more := map[string]string{}
	for name, text := range m.files {
		more[name] = filepath.Join(work, "more-"+strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(more[name], []byte(text), 0o644); err != nil {
			return err
		}
	}
	c, err := machine(ctx, m.suite, work, more, progress)
	if err != nil {
		return err
	}
	c.Processors, c.MemoryMiB = m.processors, m.memoryMiB
	answer, err := tellMachine(ctx, c, order{Record: m.comment + " A virtual machine of QEMU, with the gateway in a unit of systemd and a firewall that tracks connections."}, progress)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, m.name+".txtar"), answer.Tree, 0o644)
}
