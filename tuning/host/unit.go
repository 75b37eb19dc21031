package host

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const defaultUnit = "rookery.service"

// unitDirectories by rank, as systemd.unit(5) has them for the system.
var unitDirectories = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// Setting is a line of a file that gives a limit.
type Setting struct {
	Name, Value string
	File        string // with the first slash
	Line        int
}

// Limit is the value as a number of open files. A unit may give "soft:hard": the gateway takes the hard one.
func (s Setting) Limit() int64 {
	value := s.Value
	if _, hard, both := strings.Cut(value, ":"); both {
		value = hard
	}
	return parseLimit(value)
}

// isLimit says whether systemd can read the value. One that it can't read it ignores, so that the one before it counts.
func (s Setting) isLimit() bool {
	for part := range strings.SplitSeq(s.Value, ":") {
		if n, err := strconv.ParseInt(part, 10, 64); part != "infinity" && (err != nil || n < 0) {
			return false
		}
	}
	return true
}

// Unit is a systemd service.
type Unit struct {
	Name     string
	File     string    // "" where there is none of that name
	Settings []Setting // of [Service], files first, then drop-ins, in the order in which they are read
}

// Last is the setting of a name that counts.
func (u Unit) Last(name string) (Setting, bool) {
	for _, s := range slices.Backward(u.Settings) {
		if s.Name == name {
			return s, true
		}
	}
	return Setting{}, false
}

func readUnit(h *Host, name string) Unit {
	u := Unit{Name: name}
	names := []string{name}
	if template, instance, found := strings.Cut(name, "@"); found && instance != ".service" {
		names = append(names, template+"@.service")
	}
	var dropIns []string
	for _, name := range names {
		dropIns = append(dropIns, name+".d")
		for _, dir := range unitDirectories {
			file := path.Join(dir, name)
			text, err := h.settings(file)
			if u.File == "" && (err == nil || errors.Is(err, fs.ErrPermission)) {
				u.File = "/" + file
				u.Settings = parseUnit("/"+file, text, "[Service]")
			}
		}
	}
	ranked := map[string]string{}
	for _, dropIns := range append(dropIns, "service.d") { // of the unit, of its template, and of all services
		for _, dir := range unitDirectories {
			for _, entry := range h.settingsIn(path.Join(dir, dropIns)) {
				if base := entry.Name(); path.Ext(base) == ".conf" && ranked[base] == "" {
					ranked[base] = path.Join(dir, dropIns, base)
				}
			}
		}
	}
	for _, file := range sortedByBase(ranked) {
		if text, err := h.settings(file); err == nil {
			u.Settings = append(u.Settings, parseUnit("/"+file, text, "[Service]")...)
		}
	}
	return u
}

func sortedByBase(files map[string]string) (sorted []string) {
	for _, file := range files {
		sorted = append(sorted, file)
	}
	slices.SortFunc(sorted, func(a, b string) int { return cmp.Compare(path.Base(a), path.Base(b)) })
	return sorted
}

// parseUnit gives the settings of a section.
func parseUnit(file, text, section string) (all []Setting) {
	number, inside := 0, false
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		name, value, found := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inside = line == section
		case inside && found:
			s := Setting{strings.TrimSpace(name), strings.TrimSpace(value), file, number}
			if !strings.HasSuffix(s.Name, "LimitNOFILE") || s.isLimit() {
				all = append(all, s)
			}
		}
	}
	return all
}

// DefaultLimits are the settings of the manager itself, which units without their own have.
func (h *Host) DefaultLimits() []Setting {
	files := []string{"etc/systemd/system.conf"}
	ranked := map[string]string{}
	for _, dir := range []string{"etc/systemd/system.conf.d", "run/systemd/system.conf.d", "usr/lib/systemd/system.conf.d"} {
		for _, entry := range h.settingsIn(dir) {
			if ranked[entry.Name()] == "" {
				ranked[entry.Name()] = path.Join(dir, entry.Name())
			}
		}
	}
	var all []Setting
	for _, file := range append(files, sortedByBase(ranked)...) {
		if text, err := h.settings(file); err == nil {
			all = append(all, parseUnit("/"+file, text, "[Manager]")...)
		}
	}
	return all
}

// LoginLimits are the lines for open files of PAM, which sets them for logins and not for units.
func (h *Host) LoginLimits() (all []Setting) {
	files := []string{"etc/security/limits.conf"}
	for _, entry := range h.settingsIn("etc/security/limits.d") { // in the order of their names
		if path.Ext(entry.Name()) != ".conf" {
			continue // which pam_limits does not read
		}
		files = append(files, path.Join("etc/security/limits.d", entry.Name()))
	}
	for _, file := range files {
		number := 0
		text, _ := h.settings(file)
		for line := range strings.Lines(text) {
			number++
			line, _, _ = strings.Cut(line, "#")
			if f := strings.Fields(line); len(f) == 4 && f[2] == "nofile" {
				all = append(all, Setting{f[0] + " " + f[1] + " nofile", f[3], "/" + file, number})
			}
		}
	}
	return all
}
