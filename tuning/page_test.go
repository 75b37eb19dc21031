package tuning

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

const page = "../docs/tuning.md"

// keysText are the tables of docs/tuning.md that the code gives.
func keysText() string {
	var b strings.Builder
	cell := func(text string) string {
		if text == "" {
			return ""
		}
		return strings.ReplaceAll(text, "|", "\\|")
	}
	fmt.Fprint(&b, "| key | why | computed | cost | when not |\n|---|---|---|---|---|\n")
	for _, c := range Checks() {
		if c.Sets() {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Key, cell(c.Reason), cell(c.Computed), cell(c.Cost), cell(c.Avoid))
		}
	}
	fmt.Fprint(&b, "\n## What it only looks at\n\n| key | why |\n|---|---|\n")
	for _, c := range Checks() {
		if !c.Sets() {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.Key, cell(c.Reason))
		}
	}
	fmt.Fprint(&b, "\n## Bad advice\n\nThese are named where a file of the system has them, with the line.\n\n| key | why not | do | source |\n|---|---|---|---|\n")
	for _, f := range allFolklore() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, cell(f.reason), cell(f.do), cell(f.source))
	}
	fmt.Fprint(&b, "\n## Sources\n\n| key | document, section |\n|---|---|\n")
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.Key, cell(c.Source))
	}
	return b.String()
}

// capacityText is the table of how many connections machines hold.
func capacityText(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprint(&b, "| machine | idle | chatty | busy |\n|---|---|---|---|\n")
	for _, m := range []struct {
		gibibytes  int64
		processors int
	}{{1, 1}, {2, 1}, {2, 2}, {4, 2}, {8, 4}, {16, 8}, {32, 16}} {
		h, err := host.Typical(m.gibibytes<<30, m.processors)
		if err != nil {
			t.Fatal(err)
		}
		r := Capacity(h, Gateway).Untracked()
		processors := "processors"
		if m.processors == 1 {
			processors = "processor"
		}
		fmt.Fprintf(&b, "| %d GB, %d %s |", m.gibibytes, m.processors, processors)
		for _, l := range r.Loads {
			bound := "memory"
			if l.ByProcessors < l.ByMemory {
				bound = "processors"
			}
			fmt.Fprintf(&b, " %s, by %s |", number(l.Connections), bound)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// TestTableIsOfWhatIsRented: for a machine the table has what rookery tune capacity says on one.
func TestTableIsOfWhatIsRented(t *testing.T) {
	for name, memory := range map[string]int64{"vps-1gb": 1 << 30, "vps-2gb": 2 << 30, "vps-4gb": 4 << 30, "vps-8gb": 8 << 30, "vps-16gb": 16 << 30} {
		typical, err := host.Typical(memory, 1)
		if err != nil {
			t.Fatal(err)
		}
		idle := func(h *host.Host) int { return Capacity(h, Gateway).Untracked().Loads[0].ByMemory }
		table, there := idle(typical), idle(hosttest.Open(t, "recorded/"+name, host.Options{}))
		if off := max(table-there, there-table); off > 1000+there/500 { // they are rounded down to a thousand
			t.Errorf("%s holds %d idle connections by the table, and %d by what it says itself", name, table, there)
		}
	}
}

// part compares a part of the page with what the code gives, or writes it.
func part(t *testing.T, section, want string) {
	t.Helper()
	begin, end := "<!-- "+section+": begin -->\n", "<!-- "+section+": end -->\n"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(b), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no part between %q and %q", page, begin, end)
	}
	want = "\n" + want + "\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if got != want {
		t.Errorf("%s does not say what the code says of %s; go test ./tuning -update writes that part anew", page, section)
	}
}

// TestPage: docs/tuning.md has what the code says of every key.
func TestPage(t *testing.T) {
	part(t, "capacity", capacityText(t))
	part(t, "keys", keysText())
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(b), "<!-- keys: begin -->")
	// What it shows of a check is what check says.
	_, shown, _ := strings.Cut(before, "```\nmachine ")
	shown, _, _ = strings.Cut("machine "+shown, "```")
	if said, err := os.ReadFile("testdata/recorded/vps-1gb.check"); err != nil || len(shown) < 300 || !strings.HasPrefix(string(said), shown) {
		t.Errorf("%s shows a check that testdata/recorded/vps-1gb.check (%v) does not begin with:\n%s", page, err, shown)
	}
	for _, name := range []string{SysctlFile, ModulesFile, LimitsFile, UdevFile} {
		if !strings.Contains(before, "`/"+name+"`") {
			t.Errorf("%s does not name the file %s", page, name)
		}
	}
}

// TestChecksSayEverything: what is set without a reason, a cost or a source is not believed.
func TestChecksSayEverything(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.Key] {
			t.Errorf("%s is there twice", c.Key)
		}
		seen[c.Key] = true
		if c.Reason == "" || c.Source == "" {
			t.Errorf("%s has no reason or no source: %+v", c.Key, c)
		}
		if c.Sets() && (c.Cost == "" || c.Avoid == "" || c.Computed == "" || c.severity == "") {
			t.Errorf("%s is set, and does not say what it costs, when not to, how it is computed, or how bad it is", c.Key)
		}
		if !c.Sets() && (c.judge == nil || c.Computed != "") {
			t.Errorf("%s is not set, and judges nothing", c.Key)
		}
	}
	for _, f := range allFolklore() {
		if f.reason == "" || f.source == "" || f.do == "" || f.severity == "" {
			t.Errorf("the advice about %s says too little", f.key)
		}
	}
}
