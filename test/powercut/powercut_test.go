package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rookery/test/powercut/disk"
)

// TestWhatTheServerSays: what a power cut explains is counted, all else is a fault.
func TestWhatTheServerSays(t *testing.T) {
	for _, c := range []struct {
		line           string
		cramped, fault bool
		want           found
	}{
		{"time=t level=INFO msg=serving address=0.0.0.0:8080", false, false, found{starts: 1}},
		{`level=WARN msg="torn end of the log is cut off: it was never committed" path=p offset=7 cut_bytes=12 kept_bytes=7`, false, false, found{tornTails: 1, tornBytes: 12}},
		{`level=WARN msg="newest segment was being created at a crash and is removed" path=p`, false, false, found{unborn: 1}},
		{`level=WARN msg="segment was rewritten as a part of the one before it and is removed" path=p`, false, false, found{rewritten: 1}},
		{`level=WARN msg="checkpoint of the rooms is ahead of the log and is removed" path=p`, false, false, found{ahead: 1}},
		{`level=WARN msg="log gets a new epoch: META was damaged"`, false, true, found{}},
		{`level=ERROR msg="segment is damaged; the rest is served" path=p`, false, true, found{}},
		{`level=ERROR msg="log takes no appends until the disk answers again" error="no space left on device"`, true, false, found{stops: 1}},
		{`level=ERROR msg="log takes no appends until the disk answers again" error="no space left on device"`, false, true, found{}},
		{`level=ERROR msg="log takes no appends until the disk answers again" error="input/output error"`, true, true, found{}},
		{"rookery serve: storage fault: create segment p: write p: no space left on device (no appends until the disk answers again)", true, false, found{}},
		{"rookery serve: storage fault: create segment p: write p: no space left on device (no appends until the disk answers again)", false, true, found{}},
		{`level=INFO msg="log takes appends again"`, true, false, found{heals: 1}},
		{"panic: BUG: something", false, true, found{}},
	} {
		var f found
		if fault := f.take(c.line, c.cramped); fault != c.fault || f != c.want {
			t.Errorf("%s: fault %v, %+v; want %v, %+v", c.line, fault, f, c.fault, c.want)
		}
	}
}

func TestWhatTheKernelSays(t *testing.T) {
	for line, want := range map[string]bool{
		"[    2.1] EXT4-fs error (device vda): ext4_lookup:1855: inode #2: comm rookery": true,
		"[    2.1] XFS (vda): Metadata corruption detected at xfs_agf_read_verify":       true,
		"[    2.1] BTRFS error (device vda): parent transid verify failed":               true,
		"[    2.1] blk_update_request: I/O error, dev vda, sector 8":                     true,
		"[    1.5] reboot: Power down":                                                   false,
		"[    0.0] ..MP-BIOS bug: 8254 timer not connected to IO-APIC":                   false,
		"[    0.3] PCI: Fatal: No config space access function found":                    false,
	} {
		if got := kernelFault.MatchString(line); got != want {
			t.Errorf("%s: fault %v, want %v", line, got, want)
		}
	}
}

// TestDecisions: the same seed decides the same, and every phase and policy comes.
func TestDecisions(t *testing.T) {
	decisions := func(seed uint64) []decision {
		l := &life{run: &run{}, random: rand.New(rand.NewPCG(seed, 1))}
		all := make([]decision, 400)
		for i := range all {
			all[i] = l.decide()
			all[i].random = nil
		}
		return all
	}
	if !slices.Equal(decisions(5), decisions(5)) || slices.Equal(decisions(5), decisions(6)) {
		t.Error("decisions don't follow from the seed")
	}
	seen := map[string]bool{}
	for _, d := range decisions(5) {
		seen[string(d.phase)] = true
		seen[d.policy.String()] = true
		seen["armed "+strconv.FormatBool(d.writes > 0)] = true
		if d.writes > 0 && d.patience == 0 || d.phase == left && d.writes > 0 {
			t.Errorf("%+v can't be followed", d)
		}
	}
	for _, want := range append([]string{"none", "all", "prefix", "scattered", "armed true", "armed false"},
		string(recovering), string(verifying), string(publishing), string(leaving), string(left)) {
		if !seen[want] {
			t.Errorf("of 400 rounds none is %s", want)
		}
	}
}

// TestVerdict is what make sees.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		expect string
		lost   int
		faults []string
		want   int
		says   string
	}{
		{"all is well", "", 0, nil, 0, "PASS"},
		{"a fault", "", 0, []string{"the epoch changed"}, 1, "FAIL"},
		{"a loss", "", 1, []string{"LOST"}, 1, "FAIL"},
		{"a loss that had to be", lyingDisk, 1, []string{"LOST"}, 0, "PASS"},
		{"no loss where one had to be", syncNever, 0, nil, 1, "FAIL"},
		{"another fault where a loss had to be", lyingDisk, 0, []string{"the guest failed"}, 1, "FAIL"},
	} {
		var out bytes.Buffer
		r := &run{options: options{expectLoss: c.expect, seed: 9}, out: &out, report: newReport(), kept: filepath.Join(t.TempDir(), "none")}
		r.report.lost, r.report.faults = c.lost, c.faults
		if got := r.verdict(); got != c.want || !strings.HasPrefix(out.String(), c.says) {
			t.Errorf("%s: status %d and %q, want %d and %s", c.name, got, out.String(), c.want, c.says)
		}
	}
}

func TestReport(t *testing.T) {
	r := newReport()
	l := &life{filesystem: filesystems[1]}
	r.round(l, outcome{phase: publishing, cut: disk.Cut{Policy: disk.KeepPrefix, Writes: 3, Sectors: 20, Changed: 4}, took: 5 * time.Second, found: found{starts: 1, tornTails: 1, tornBytes: 77}})
	r.round(l, outcome{phase: recovering, cut: disk.Cut{Policy: disk.KeepNone}, took: 2 * time.Second, faults: []string{"something"}})
	var out bytes.Buffer
	r.write(&out)
	for _, want := range []string{"power cuts          2, in 7s: 3.5 s each", "publishing             1", "ext4 data=writeback: 2", "cut off: 1 (77 bytes", "fault: something"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--expect-loss", "sometimes"}, {"stray"}, {"--rounds", "x"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	o, err := parse([]string{"--rounds", "3"}, io.Discard)
	if err != nil || o.rounds != 3 || o.seed == 0 {
		t.Errorf("options are %+v, %v; want 3 rounds and a seed", o, err)
	}
}

// TestContents: a content begins with its key, follows from it, and is taken by a server with default
// limits.
func TestContents(t *testing.T) {
	longest := 0
	for i := range 2000 {
		key := "publisher-1-" + strconv.Itoa(i)
		content := contentOf(key)
		if first, _, _ := strings.Cut(content, " "); first != key || content != contentOf(key) {
			t.Fatalf("content of %s begins with %q, or is not the same twice", key, first)
		}
		longest = max(longest, len(content))
	}
	if longest < 30<<10 || longest > 60<<10 {
		t.Errorf("the longest content is %d bytes, want some far over a page and all under the limit of a frame", longest)
	}
}
