package host

import (
	"path"
	"strconv"
	"strings"
)

// Bound is a limit that a cgroup sets, and where.
type Bound struct {
	Amount float64 // bytes, or processors
	File   string  // with the first slash
}

// readCgroupOf gives the cgroup of a process as its file names it: of version 2, or of version 1 that of memory.
func readCgroupOf(h *Host, name string) string {
	found := ""
	for line := range strings.Lines(h.text(name)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) < 3:
		case f[0] == "0" && f[1] == "" && found == "":
			found = f[2]
		case f[1] == "memory":
			found = f[2]
		}
	}
	return found
}

// cgroup is that of the gateway, or of this process, which is the same in a container.
func (h *Host) cgroup() string {
	if h.Gateway != nil {
		return h.Gateway.Cgroup
	}
	return readCgroupOf(h, "proc/self/cgroup")
}

// MemoryBound is the least limit of memory that binds the gateway: its cgroup's or of one above. Over memory.high it is not killed, but held up.
func (h *Host) MemoryBound() (least Bound, found bool) {
	for dir := path.Clean("/" + h.cgroup()); ; dir = path.Dir(dir) {
		for _, file := range []string{"sys/fs/cgroup" + dir + "/memory.max", "sys/fs/cgroup" + dir + "/memory.high", "sys/fs/cgroup/memory" + dir + "/memory.limit_in_bytes"} {
			file = path.Clean(file)
			// Version 1 has a number near 2^63 for none.
			if n, err := h.number(file); err == nil && n < 1<<60 && (!found || float64(n) < least.Amount) {
				least, found = Bound{float64(n), "/" + file}, true
			}
		}
		if dir == "/" {
			return least, found
		}
	}
}

// ProcessorBound is the least share of processors that binds the gateway.
func (h *Host) ProcessorBound() (least Bound, found bool) {
	for dir := path.Clean("/" + h.cgroup()); ; dir = path.Dir(dir) {
		file := path.Clean("sys/fs/cgroup" + dir + "/cpu.max")
		f := strings.Fields(h.text(file))
		if len(f) != 2 {
			file = path.Clean("sys/fs/cgroup/cpu" + dir + "/cpu.cfs_quota_us")
			f = []string{h.text(file), h.text(path.Dir(file) + "/cpu.cfs_period_us")}
		}
		quota, err1 := strconv.ParseFloat(f[0], 64)
		period, err2 := strconv.ParseFloat(f[1], 64)
		if err1 == nil && err2 == nil && quota > 0 && period > 0 && (!found || quota/period < least.Amount) {
			least, found = Bound{quota / period, "/" + file}, true
		}
		if dir == "/" {
			return least, found
		}
	}
}
