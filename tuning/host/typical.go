package host

import (
	"fmt"
	"io/fs"
	"strings"
)

// Typical is a machine with so much memory as providers rent them, a virtual one with a current kernel and its defaults, for profiles that are
// computed before there is a machine.
func Typical(memory int64, processors int) (*Host, error) {
	h, err := Open(typicalFiles(memory, processors), Options{})
	if err != nil {
		return nil, err
	}
	h.systemd = true
	return h, nil
}

func typicalFiles(memory int64, processors int) texts {
	const page = 4096
	total := usable(memory)
	pages := memory / page
	pressure := pages / 16 // what the kernel computes at boot, a sixteenth of what it can use for buffers
	var stat strings.Builder
	stat.WriteString("cpu 0 0 0 0 0 0 0 0 0 0\n")
	for i := range processors {
		fmt.Fprintf(&stat, "cpu%d 0 0 0 0 0 0 0 0 0 0\n", i)
	}
	return texts{
		"proc/meminfo":                                                fmt.Sprintf("MemTotal: %d kB\nMemAvailable: %d kB\n", total>>10, total>>10*9/10),
		"proc/stat":                                                   stat.String(),
		"proc/cpuinfo":                                                "flags : hypervisor\n",
		"proc/sys/kernel/osrelease":                                   "6.12.0",
		"proc/sys/fs/nr_open":                                         "1048576",
		"proc/sys/fs/file-max":                                        "9223372036854775807",
		"proc/sys/fs/file-nr":                                         "1024 0 9223372036854775807",
		"proc/sys/net/core/somaxconn":                                 "4096",
		"proc/sys/net/core/netdev_max_backlog":                        "1000",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":                       fmt.Sprint(max(128, min(4096, pages/4096))),
		"proc/sys/net/ipv4/tcp_syncookies":                            "1",
		"proc/sys/net/ipv4/tcp_mem":                                   fmt.Sprintf("%d %d %d", pressure/4*3, pressure, pressure/4*6),
		"proc/sys/net/ipv4/tcp_rmem":                                  "4096 131072 6291456",
		"proc/sys/net/ipv4/tcp_wmem":                                  "4096 16384 4194304",
		"proc/sys/net/ipv4/tcp_notsent_lowat":                         "4294967295",
		"proc/sys/net/ipv4/tcp_max_orphans":                           fmt.Sprint(max(4096, min(262144, pages/64))),
		"proc/sys/net/ipv4/tcp_max_tw_buckets":                        fmt.Sprint(max(4096, min(262144, pages/64))),
		"proc/sys/net/ipv4/tcp_tw_reuse":                              "2",
		"proc/sys/net/ipv4/tcp_keepalive_time":                        "7200",
		"proc/sys/net/ipv4/ip_local_port_range":                       "32768 60999",
		"proc/sys/net/ipv4/ip_local_reserved_ports":                   "",
		"proc/sys/net/netfilter/nf_conntrack_max":                     fmt.Sprint(trackedDefault(memory)),
		"proc/sys/net/netfilter/nf_conntrack_buckets":                 fmt.Sprint(trackedDefault(memory)),
		"proc/sys/net/netfilter/nf_conntrack_count":                   "16",
		"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
	}
}

// trackedDefault is how many connections the kernel's tracker takes on a machine, in as many buckets.
func trackedDefault(memory int64) int64 {
	switch {
	case memory > 4<<30:
		return 262144
	case memory > 1<<30:
		return 65536
	}
	return max(1024, memory>>17) // buckets of 8 bytes, together a part in 16384 of the memory
}

// texts is a tree of files without directories, by name.
type texts map[string]string

func (t texts) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (t texts) ReadFile(name string) ([]byte, error) {
	text, there := t[name]
	if !there {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}
