package script

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rookery/tuning"
	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

var update = flag.Bool("update", false, "write tuning/profiles anew; look at what changed")

const profiles = "../profiles"

// profileFiles gives what is in tuning/profiles: of each profile the files where the system looks for them, and the script.
func profileFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, profile := range tuning.Profiles() {
		plan, err := profile.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if !plan.Fits() {
			t.Errorf("%s does not fit its own machine: %v", profile.Name, plan.Misfits)
		}
		for _, f := range plan.Files {
			files[profile.Name+f.Path] = f.After
		}
		files[profile.Name+"/tune.sh"] = Make(plan)
	}
	return files
}

// TestProfiles: the files of tuning/profiles are those that the code computes.
func TestProfiles(t *testing.T) {
	want := profileFiles(t)
	if *update {
		for _, profile := range tuning.Profiles() {
			if err := os.RemoveAll(filepath.Join(profiles, profile.Name)); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range want {
			to := filepath.Join(profiles, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]string{}
	err := filepath.WalkDir(profiles, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(name) == "README.md" {
			return err
		}
		b, err := os.ReadFile(name)
		got[strings.TrimPrefix(name, profiles+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("tuning/profiles/%s is not what the code computes; make profiles writes it anew", name)
		}
	}
	for name := range got {
		if _, there := want[name]; !there {
			t.Errorf("tuning/profiles/%s is of no profile", name)
		}
	}
	readme, err := os.ReadFile(profiles + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, profile := range tuning.Profiles() {
		if !strings.Contains(string(readme), "`"+profile.Name+"`") {
			t.Errorf("tuning/profiles/README.md does not name %s", profile.Name)
		}
	}
}

// TestShellcheck looks at two that have everything between them: files of all kinds, cards, a machine on which nothing is to be set.
func TestShellcheck(t *testing.T) {
	for _, name := range []string{"conflicts", "docker"} {
		h := hosttest.Open(t, name, host.Options{})
		text := Make(tuning.Make(h, tuning.Target{Connections: 150000, MessageRate: 100000}, nil))
		command := exec.Command("shellcheck", "--shell=sh", "--enable=all", "--exclude=SC2250,SC2310,SC2312,SC2311", "-")
		command.Stdin = strings.NewReader(text)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v (test/setup installs shellcheck)\n%s", name, err, out)
		}
	}
}

var shells = map[string][]string{"dash": {"dash"}, "busybox": {"busybox", "sh"}}

// try is a script, a shell and a machine in a folder.
type try struct {
	t     *testing.T
	shell []string
	file  string
	root  string
}

func newTry(t *testing.T, shell []string, text, machine string) *try {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tune.sh")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return &try{t, shell, file, hosttest.Unpack(t, machine)}
}

// run runs a command of the script and wants an exit status and words in what it says.
func (c *try) run(command string, status int, words ...string) {
	c.t.Helper()
	e := exec.Command(c.shell[0], append(slices.Clone(c.shell[1:]), c.file, command)...)
	e.Env = append(os.Environ(), "ROOT="+c.root)
	out, err := e.CombinedOutput()
	if got := e.ProcessState.ExitCode(); got != status {
		c.t.Fatalf("%v %s: exit status %d, want %d (%v)\n%s", c.shell, command, got, status, err, out)
	}
	for _, word := range words {
		if !bytes.Contains(out, []byte(word)) {
			c.t.Errorf("%v %s does not say %q:\n%s", c.shell, command, word, out)
		}
	}
}

// state is all files of the machine, with one blank between words: a value that is read back has those. Where the script keeps its
// state is of no machine.
func (c *try) state() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(c.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == filepath.Join(c.root, "var") || name == filepath.Join(c.root, "var/lib") {
			return err
		}
		text := entry.Type().String()
		if entry.Type().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += strings.Join(strings.Fields(string(b)), " ")
		}
		all[strings.TrimPrefix(name, c.root)] = text
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

func (c *try) same(when string, before map[string]string) {
	c.t.Helper()
	after := c.state()
	for name := range after {
		if before[name] != after[name] {
			c.t.Errorf("%v %s: %s is %.80q, was %.80q", c.shell, when, name, after[name], before[name])
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			c.t.Errorf("%v %s: %s is gone", c.shell, when, name)
		}
	}
}

func (c *try) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.root, name), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func TestScriptInShells(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTry(t, shell, Make(plan), "vps-1gb")
			before := c.state()
			c.run("check", 1, "short   net.core.somaxconn = 4096, wanted 16384")
			c.same("check changes", before)
			c.run("rollback", 1, "nothing was applied")
			if err := os.MkdirAll(filepath.Join(c.root, "var/lib/rookery-tune"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.run("apply", 1, "rookery tune apply was run on this machine")
			if err := os.Remove(filepath.Join(c.root, "var/lib/rookery-tune")); err != nil {
				t.Fatal(err)
			}
			c.run("sing", 2, "usage")
			c.run("apply", 0, "value   net.core.somaxconn: 4096 -> 16384")
			for _, v := range plan.Values {
				b, err := os.ReadFile(c.root + v.Path)
				if got := strings.Join(strings.Fields(string(b)), " "); v.Path != "" && (err != nil || got != v.Wanted) {
					t.Errorf("%s is %q, %v, want %s", v.Key, got, err, v.Wanted)
				}
			}
			applied := c.state()
			c.run("check", 0)
			c.run("apply", 0, "applied already")
			c.same("apply again", applied)
			c.run("rollback", 0)
			c.same("rollback", before)
			c.run("check", 1)
		})
	}
}

// TestScriptOnAnotherMachine: what is good enough there is left alone, and what is not there is not missed.
func TestScriptOnAnotherMachine(t *testing.T) {
	profile := tuning.Profiles()[2]
	plan, err := profile.Plan()
	if err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTry(t, shell, Make(plan), "lxc")
			before := c.state()
			c.write("proc/sys/net/core/somaxconn", "65535\n")
			c.write("proc/sys/net/ipv4/tcp_notsent_lowat", "16384\n")
			changed := c.state()
			c.run("check", 1, "absent  net.ipv4.tcp_max_orphans", "good    net.core.somaxconn = 65535", "good    net.ipv4.tcp_notsent_lowat = 16384")
			c.run("apply", 0)
			if text := c.state()["/"+tuning.SysctlFile]; strings.Contains(text, "somaxconn") || !strings.Contains(text, "tcp_wmem") {
				t.Errorf("the file sets what was good, or not what was not: %s", text)
			}
			c.run("rollback", 0)
			c.same("rollback", changed)
			if fmt.Sprint(before) == fmt.Sprint(changed) {
				t.Error("the machine was not another one")
			}
		})
	}
}

// TestScriptReadsTheKernel: files of the kernel are not like others. Check reads those of this machine, and changes nothing.
func TestScriptReadsTheKernel(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_wmem")
	if err != nil {
		t.Fatal(err)
	}
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	for name, shell := range shells {
		c := newTry(t, shell, Make(plan), "vps-1gb")
		out, _ := exec.Command(c.shell[0], append(slices.Clone(c.shell[1:]), c.file, "check")...).Output() // the status is this machine's
		if want := "net.ipv4.tcp_wmem = " + strings.Join(strings.Fields(string(b)), " "); !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s: check does not say %q:\n%s", name, want, out)
		}
	}
}

func TestScriptRefusesChanges(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	for name, shell := range shells {
		for file, reason := range map[string]string{
			"proc/sys/net/core/somaxconn": "net.core.somaxconn is 77, and was left as 16384",
			tuning.SysctlFile:             "zz-rookery-tune.conf has another content",
		} {
			t.Run(name+" "+file, func(t *testing.T) {
				c := newTry(t, shell, Make(plan), "vps-1gb")
				c.run("apply", 0)
				c.write(file, "77\n")
				before := c.state()
				c.run("rollback", 1, reason)
				c.same("rollback", before)
				c.run("apply", 1, reason)
				c.same("apply", before)
			})
		}
	}
}

// TestScriptPutsBackWhenItFails: a directory is in the way of a file that is written late, and of a value.
func TestScriptPutsBackWhenItFails(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTry(t, shell, Make(plan), "vps-1gb")
			c.write("etc/modules-load.d", "in the way\n")
			before := c.state()
			c.run("apply", 1, "it failed, everything is put back")
			c.same("a failed apply", before)
			if err := os.Remove(filepath.Join(c.root, "etc/modules-load.d")); err != nil {
				t.Fatal(err)
			}
			c.run("apply", 0)
		})
	}
}

// TestScriptOverLinks: what is in the place of one of its files is somebody's, also where it leads nowhere.
func TestScriptOverLinks(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	for name, shell := range shells {
		c := newTry(t, shell, Make(plan), "vps-1gb")
		file := filepath.Join(c.root, tuning.SysctlFile)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink("no-such-file", file)); err != nil {
			t.Fatal(name, err)
		}
		before := c.state()
		c.run("apply", 1, "is a symbolic link")
		c.same("apply over a link", before)
	}
}

// TestScriptLeavesAloneWhatIsFixed: a link leads to a file of this kernel that nobody may write, not even root.
func TestScriptLeavesAloneWhatIsFixed(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	const file = "proc/sys/net/core/somaxconn"
	for name, shell := range shells {
		c := newTry(t, shell, Make(plan), "vps-1gb")
		if err := errors.Join(os.Remove(filepath.Join(c.root, file)), os.Symlink("/proc/sys/kernel/cap_last_cap", filepath.Join(c.root, file))); err != nil {
			t.Fatal(name, err)
		}
		before := c.state()
		c.run("apply", 0, "fixed   net.core.somaxconn can't be set from here")
		if text := c.state()["/"+tuning.SysctlFile]; strings.Contains(text, "somaxconn") || !strings.Contains(text, "tcp_wmem") {
			t.Errorf("%s: the file sets what can't be set, or not what can: %s", name, text)
		}
		c.run("rollback", 0)
		c.same("rollback", before)
	}
}

// TestScriptPutsBackOnAFullDisk: what puts values back writes nothing else first. A program stands in for sed that finds no room for a file.
func TestScriptPutsBackOnAFullDisk(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	sed, err := exec.LookPath("sed")
	if err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "sed"), []byte("#!/bin/sh\n[ ! -f /proc/self/fd/1 ] || exit 4\nexec "+sed+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTry(t, shell, Make(plan), "vps-1gb")
			before := c.state()
			c.run("apply", 0)
			t.Setenv("PATH", full+":"+os.Getenv("PATH"))
			c.run("rollback", 0)
			c.same("rollback on a full disk", before)
		})
	}
}

// TestScriptThatWasKilled: at its very beginning, or at the end of a rollback. What is there then is put back, or is as it was.
func TestScriptThatWasKilled(t *testing.T) {
	h := hosttest.Open(t, "vps-1gb", host.Options{})
	plan := tuning.Make(h, tuning.Target{Connections: 100000}, nil)
	rm, err := exec.LookPath("rm")
	if err != nil {
		t.Fatal(err)
	}
	deadly := t.TempDir()
	if err := os.WriteFile(filepath.Join(deadly, "rm"), []byte("#!/bin/sh\n[ \"$1\" != -r ] || { kill -9 $PPID; exit 1; }\nexec "+rm+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTry(t, shell, Make(plan), "vps-1gb")
			before := c.state()
			if err := os.MkdirAll(filepath.Join(c.root, "var/lib/rookery-tune-script"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.run("rollback", 0)
			c.same("rollback of an apply that had only begun", before)
			if name == "busybox" {
				return // its rm is its own, which can't be made to kill
			}
			c.run("apply", 0)
			path := os.Getenv("PATH")
			t.Setenv("PATH", deadly+":"+path)
			c.run("rollback", -1)
			t.Setenv("PATH", path)
			c.run("rollback", 0)
			c.same("rollback of a rollback that was killed", before)
		})
	}
}
