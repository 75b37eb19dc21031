package host

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Reading is the value of a setting, or why there is none.
type Reading struct {
	Text string
	Err  error
}

// Numbers are those of the text, nil where it is not made of numbers or could not be read.
func (r Reading) Numbers() []int64 {
	if r.Err != nil {
		return nil
	}
	numbers, _ := integers(r.Text)
	return numbers
}

// Number is the one at a place, 0 where there is none.
func (r Reading) Number(place int) int64 {
	if numbers := r.Numbers(); place < len(numbers) {
		return numbers[place]
	}
	return 0
}

// SysctlPath is the file of a setting, without the first slash.
func SysctlPath(key string) string { return "proc/sys/" + strings.ReplaceAll(key, ".", "/") }

// Sysctl is the value in force, numbers separated by one blank.
func (h *Host) Sysctl(key string) Reading {
	text, err := h.Text(SysctlPath(key))
	return Reading{strings.Join(strings.Fields(text), " "), err}
}

// Assignment is a line of a file that sets a kernel's setting.
type Assignment struct {
	Key   string // with dots
	Value string
	File  string // with the first slash
	Line  int
	// Ignored says why the line does nothing at boot, "" if it does something.
	Ignored string
}

// sysctlDirectories by rank: of two files with one name that in the first directory counts.
var sysctlDirectories = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"}

const sysctlConf = "etc/sysctl.conf"

// Assignments are all of them, in the order in which they are read at boot: of all directories by the base names of the
// files. Those that are ignored stand where they would be read.
func (h *Host) Assignments() []Assignment { return h.assignments }

// AtBoot is the line that decides about a setting at boot: the last one, but an explicit one before a pattern.
func (h *Host) AtBoot(key string) (Assignment, bool) {
	var found Assignment
	for _, a := range h.assignments {
		switch pattern := strings.ContainsAny(a.Key, "*?["); {
		case a.Ignored != "":
		case !pattern && a.Key == key:
			found = a
		case pattern && (found.File == "" || strings.ContainsAny(found.Key, "*?[")):
			if ok, _ := path.Match(SysctlPath(a.Key), SysctlPath(key)); ok {
				found = a
			}
		}
	}
	return found, found.File != ""
}

// Systemd says whether it is the machine's init.
func (h *Host) Systemd() bool { return h.systemd }

func readAssignments(h *Host) []Assignment {
	type file struct{ name, ignored string }
	var files []file
	ranked := map[string]string{} // by base name
	linked := false               // a file of a directory is a link to sysctl.conf
	for _, dir := range sysctlDirectories {
		for _, entry := range h.settingsIn(dir) {
			base, name := entry.Name(), path.Join(dir, entry.Name())
			if path.Ext(base) != ".conf" {
				continue
			}
			if target, err := fs.ReadLink(h.root, name); err == nil && path.Base(target) == path.Base(sysctlConf) {
				linked = true
			}
			if by, there := ranked[base]; there {
				if dir != "lib/sysctl.d" { // mostly the same directory as usr/lib
					files = append(files, file{name, "/" + by + " has the same name and counts instead"})
				}
				continue
			}
			ranked[base] = name
			files = append(files, file{name, ""})
		}
	}
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(path.Base(a.name), path.Base(b.name)) })
	if !linked && h.exists(sysctlConf) {
		ignored := ""
		if h.Systemd() {
			ignored = "systemd reads only the directories sysctl.d at boot, and no link in them leads to this file (so since Debian 13)"
		}
		files = append(files, file{sysctlConf, ignored})
	}
	var all []Assignment
	for _, f := range files {
		text, err := h.settings(f.name)
		if err != nil {
			continue // what may not be read is told by Closed
		}
		for _, a := range parseSysctl(text) {
			a.File, a.Ignored = "/"+f.name, f.ignored
			all = append(all, a)
		}
	}
	return all
}

// parseSysctl reads a file by the rules of sysctl.d(5).
func parseSysctl(text string) []Assignment {
	var all []Assignment
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			continue // "-key" takes a key out of a pattern, and sets nothing
		}
		key = sysctlKey(strings.TrimPrefix(strings.TrimSpace(key), "-"))
		if key == "net.nf_conntrack_max" {
			key = "net.netfilter.nf_conntrack_max" // two names of one value
		}
		all = append(all, Assignment{Key: key, Value: withoutComment(strings.Fields(value)), Line: number})
	}
	return all
}

// withoutComment joins the words of a value. No file of sysctl.d has comments behind values, but many have them there, and for numbers they do no
// harm: the kernel takes as many numbers as the setting has, and does not look at the rest.
func withoutComment(words []string) string {
	for i, word := range words {
		if _, numbers := integers(strings.Join(words[:i], " ")); numbers && (word[0] == '#' || word[0] == ';') {
			words = words[:i]
			break
		}
	}
	return strings.Join(words, " ")
}

// sysctlKey gives a key with dots: if its first separator is a slash, slashes and dots are the other way round.
func sysctlKey(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, key)
}
