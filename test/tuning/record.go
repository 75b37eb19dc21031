package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"rookery/tuning"
	"rookery/tuning/host"
)

// recorder is a file system that remembers what is read of another: of a machine just what the tuner looks at.
type recorder struct {
	root    fs.FS
	files   map[string]string // contents; "" for those that were only listed or asked for
	links   map[string]string
	dirs    map[string]bool
	refused []string // may not be read
	fixed   []string // may be read only
}

// there is a file that stands for a directory of which nothing else was read.
const there = ".there"

// record writes a tree of a machine as an archive of package tuning/hosttest.
func record(root fs.FS, comment string, out io.Writer) error {
	r := &recorder{root: root, files: map[string]string{}, links: map[string]string{}, dirs: map[string]bool{}}
	h, err := host.Open(r, host.Options{PageSize: int64(os.Getpagesize())})
	if err != nil {
		return err
	}
	// Which files are read hangs on the role, and on what the target asks for.
	for _, role := range tuning.Roles() {
		for _, connections := range []int{1000, 5000000} {
			t := tuning.Target{Role: role, Connections: connections, MessageRate: float64(connections)}
			tuning.Examine(h, t)
			tuning.Make(h, t, nil)
		}
	}
	r.forgetOthers(h)
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\nRecorded by go run ./test/tuning --record, %s.\n", comment, time.Now().UTC().Format(time.DateOnly))
	if len(r.refused) > 0 {
		text += "What could not be read: " + strings.Join(r.refused, ", ") + ".\n"
	}
	if len(r.fixed) > 0 {
		text += "Read-only: " + strings.Join(r.fixed, " ") + "\n"
	}
	archive := &txtar.Archive{Comment: []byte(text)}
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(scrub(name, host, cut(name, r.files[name])))})
	}
	_, err = out.Write(txtar.Format(archive))
	return err
}

// forgetOthers takes out what was looked at only to find the gateway, and makes files of links and directories.
func (r *recorder) forgetOthers(h *host.Host) {
	kept := map[string]bool{"1": true}
	if h.Gateway != nil {
		kept[fmt.Sprint(h.Gateway.PID)] = true
	}
	others := func(name string) bool {
		process, _, _ := strings.Cut(strings.TrimPrefix(name, "proc/"), "/")
		return strings.HasPrefix(name, "proc/") && process != "" && process[0] >= '0' && process[0] <= '9' && !kept[process] || name == "proc/self/exe" || name == "proc/1/cmdline"
	}
	maps.DeleteFunc(r.files, func(name, _ string) bool { return others(name) })
	for name, target := range r.links {
		if others(name) {
			continue
		}
		if path.IsAbs(target) { // a tree in memory has no root to begin at
			target = strings.Repeat("../", strings.Count(name, "/")) + target[1:]
		}
		if content, read := r.files[name]; read && content != "" {
			r.files[path.Join(path.Dir(name), target)] = content
		}
		r.files[name] = "-> " + target
	}
	for name := range r.dirs {
		below := func(other string) bool { return strings.HasPrefix(other, name+"/") }
		if name != "." && name != "proc" && !others(name) && !slices.ContainsFunc(slices.Collect(maps.Keys(r.files)), below) {
			r.files[name+"/"+there] = ""
		}
	}
}

func (r *recorder) note(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) && !slices.Contains(r.refused, name) {
		r.refused = append(r.refused, name)
	}
	return err
}

// Open is of the interface; what the tuner calls are the other methods.
func (r *recorder) Open(name string) (fs.File, error) { return r.root.Open(name) }

func (r *recorder) ReadFile(name string) ([]byte, error) {
	b, err := fs.ReadFile(r.root, name)
	if err == nil {
		r.files[name] = string(b)
	}
	return b, r.note(name, err)
}

func (r *recorder) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(r.root, name)
	if err != nil {
		return entries, r.note(name, err)
	}
	r.dirs[name] = true
	if name == "proc" {
		return entries, nil
	}
	for _, entry := range entries {
		below := path.Join(name, entry.Name())
		if info, err := fs.Stat(r.root, below); err == nil && info.IsDir() {
			r.dirs[below] = true
		} else if _, read := r.files[below]; !read {
			r.files[below] = ""
		}
	}
	return entries, nil
}

func (r *recorder) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(r.root, name)
	if err != nil {
		return nil, r.note(name, err)
	}
	if info.IsDir() {
		r.dirs[name] = true
		return info, nil
	}
	if info.Mode().Perm()&0o222 == 0 && !slices.Contains(r.fixed, name) {
		r.fixed = append(r.fixed, name)
	}
	if _, read := r.files[name]; !read {
		r.files[name] = ""
	}
	return info, nil
}

func (r *recorder) ReadLink(name string) (string, error) {
	target, err := fs.ReadLink(r.root, name)
	if err == nil {
		r.links[name] = target
	}
	return target, r.note(name, err)
}

func (r *recorder) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(r.root, name) }

// linesRead are the beginnings of the lines that are read of long files of the kernel, by their base names; the rest is left out.
var linesRead = map[string][]string{
	"cpuinfo": {"flags"},
	"limits":  {"Limit", "Max open files"},
	"meminfo": {"MemTotal", "MemFree", "MemAvailable", "Cached", "SwapTotal", "SwapFree", "CommitLimit", "Committed_AS"},
	"stat":    {"cpu"},
	"status":  {"Name", "VmRSS", "Threads"},
}

// comment is a line that says nothing to the tuner, alone in a file.
var comment = regexp.MustCompile(`^\s*([#;\[].*)?$`)

// mounted are the lines of /proc/self/mounts that the tuner may look for.
var mounted = regexp.MustCompile(`^\S+ /(?:(?:proc|sys|run|var|dev)(?:/\S*)?)? `)

// cut leaves out of a file what is not read, and what is nobody's business.
func cut(name, text string) string {
	var kept strings.Builder
	if strings.HasPrefix(name, "etc/") && !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return !comment.MatchString(line) }) && text != "" {
		return "# only comments\n"
	}
	for line := range strings.Lines(text) {
		switch beginnings, known := linesRead[path.Base(name)]; {
		case known && strings.HasPrefix(name, "proc/") && !slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(line, b) }):
		case name == "proc/cpuinfo" && kept.Len() > 0: // one processor says it for all
		case name == "proc/modules":
			module, _, _ := strings.Cut(line, " ")
			kept.WriteString(module + " \n")
		case name == "proc/interrupts" && strings.Contains(line, ":") && !strings.Contains(line, "virtio") && !strings.Contains(line, "eth"):
		case strings.HasSuffix(name, "/mounts") && !mounted.MatchString(line):
		case name == "proc/1/environ":
			for variable := range strings.SplitSeq(line, "\x00") {
				if strings.HasPrefix(variable, "container=") {
					kept.WriteString(variable + "\x00")
				}
			}
		default:
			kept.WriteString(line)
		}
	}
	return strings.ReplaceAll(kept.String(), "\x00", "␀")
}

var (
	addresses = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)
	overlays  = regexp.MustCompile(`(lowerdir|upperdir|workdir)=[^ ,]*`)
	longOnes  = regexp.MustCompile(`\b[0-9a-f]{12,}\b|\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{1,4}(:[0-9a-f]{0,4}){3,7}\b`)
)

// scrub takes names and addresses out of a file that people or programs of the machine have written.
func scrub(name, hostname, text string) string {
	written := strings.HasPrefix(name, "etc/") || strings.HasPrefix(name, "run/") || strings.HasSuffix(name, "/mounts") || strings.HasSuffix(name, "/cmdline") || strings.HasSuffix(name, "/cgroup")
	if !written {
		return text
	}
	text = addresses.ReplaceAllStringFunc(text, func(address string) string {
		if strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "0.") {
			return address
		}
		return "192.0.2.1" // of documentation
	})
	text = overlays.ReplaceAllString(text, "$1=/somewhere")
	text = longOnes.ReplaceAllString(text, "0000")
	if len(hostname) > 2 {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(hostname)+`\b`).ReplaceAllString(text, "machine")
	}
	return text
}
