package main

import (
	"fmt"
	"strconv"
	"strings"
)

// pageBytes is the machine's page.
const pageBytes = 4096

// memory is of a process, by /proc/PID/smaps_rollup.
type memory struct {
	resident  int64
	anonymous int64 // without the pages of the program's file
}

func parseMemory(text string) (m memory, err error) {
	if m.resident, err = kibibytes(text, "Rss"); err != nil {
		return m, err
	}
	m.anonymous, err = kibibytes(text, "Anonymous")
	return m, err
}

// kibibytes gives the field of a line "name: 12 kB", in bytes.
func kibibytes(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(line, ":")
		if !found || key != name {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("the kernel does not tell %s", name)
}

// kernelMemory is what the kernel holds.
type kernelMemory struct {
	slab   int64            // all caches of objects
	own    int64            // all that is neither free nor of programs or files
	caches map[string]int64 // of /proc/slabinfo, in bytes
	tcp6   int64            // sockets in use that speak IPv6, or IPv4 on a listener for both
}

func (m *machine) kernelMemory() (k kernelMemory, err error) {
	texts := map[string]string{}
	for _, path := range []string{"/proc/meminfo", "/proc/slabinfo", "/proc/net/sockstat6"} {
		if texts[path], err = m.read(path); err != nil {
			return k, err
		}
	}
	if err := k.parseMeminfo(texts["/proc/meminfo"]); err != nil {
		return k, err
	}
	if k.caches, err = parseSlabs(texts["/proc/slabinfo"]); err != nil {
		return k, err
	}
	k.tcp6, err = parseSockstat(texts["/proc/net/sockstat6"], "TCP6", "inuse")
	return k, err
}

func (k *kernelMemory) parseMeminfo(text string) error {
	fields := map[string]int64{}
	for _, name := range []string{"Slab", "MemTotal", "MemFree", "AnonPages", "Cached"} {
		n, err := kibibytes(text, name)
		if err != nil {
			return err
		}
		fields[name] = n
	}
	k.slab = fields["Slab"]
	k.own = fields["MemTotal"] - fields["MemFree"] - fields["AnonPages"] - fields["Cached"]
	return nil
}

// parseSlabs gives the memory of each cache: "name active total size perslab pagesperslab : tunables … : slabdata activeslabs slabs shared".
func parseSlabs(text string) (map[string]int64, error) {
	caches := map[string]int64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" || strings.HasPrefix(line, "slabinfo") {
			continue
		}
		if len(f) < 15 {
			return nil, fmt.Errorf("cache %s of the kernel has %d fields, want 15 or more", f[0], len(f))
		}
		pages, err := strconv.ParseInt(f[5], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cache %s of the kernel: %w", f[0], err)
		}
		slabs, err := strconv.ParseInt(f[14], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cache %s of the kernel: %w", f[0], err)
		}
		caches[f[0]] = slabs * pages * pageBytes
	}
	if len(caches) == 0 {
		return nil, fmt.Errorf("the kernel tells no caches")
	}
	return caches, nil
}

// parseSockstat gives a value of a line like "TCP6: inuse 3".
func parseSockstat(text, protocol, key string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != protocol+":" {
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if f[i] == key {
				return strconv.ParseInt(f[i+1], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("the kernel does not tell %s of %s", key, protocol)
}

// grown is what the kernel needs for connections, both ends of which are in the machine.
type grown struct {
	slab     int64
	own      int64
	caches   map[string]int64
	bothKind bool // the listener was one for IPv4 and IPv6
}

// split tells the ends apart. An accepted socket of a listener for both is of another cache than a connecting one; all else, files and
// what epoll keeps, both ends have alike.
func (g grown) split() (accepting, connecting int64) {
	var alike int64
	for name, bytes := range g.caches {
		if name != "TCP" && name != "TCPv6" || !g.bothKind {
			alike += bytes
		}
	}
	accepting, connecting = alike/2, alike/2
	if g.bothKind {
		accepting += g.caches["TCPv6"]
		connecting += g.caches["TCP"]
	}
	return accepting, connecting
}
