package host_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

// with gives a machine some more files.
func with(t *testing.T, machine string, files map[string]string) *host.Host {
	t.Helper()
	tree := hosttest.Tree(t, machine)
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestDropInsOfAllServices count for the gateway, too; of two with one name that of the unit does.
func TestDropInsOfAllServices(t *testing.T) {
	files := map[string]string{"etc/systemd/system/service.d/50-all.conf": "[Service]\nLimitNOFILE=2000\n"}
	if s, _ := with(t, "vps-4gb", files).Unit.Last("LimitNOFILE"); s.Limit() != 2000 {
		t.Errorf("a drop-in of all services gives %+v", s)
	}
	files["usr/lib/systemd/system/rookery.service.d/50-all.conf"] = "[Service]\nLimitNOFILE=3000\n"
	if s, _ := with(t, "vps-4gb", files).Unit.Last("LimitNOFILE"); s.Limit() != 3000 {
		t.Errorf("beside one of the unit with the same name it gives %+v", s)
	}
	files["etc/systemd/system/rookery.service.d/40-mine.conf"] = "[Service]\nLimitNOFILE=4000\n"
	if s, _ := with(t, "vps-4gb", files).Unit.Last("LimitNOFILE"); s.Limit() != 3000 {
		t.Errorf("beside one that is read before it gives %+v", s)
	}
}

// TestFilesThatPAMDoesNotRead have another ending.
func TestFilesThatPAMDoesNotRead(t *testing.T) {
	all := with(t, "vps-4gb", map[string]string{"etc/security/limits.d/10.conf": "* - nofile 7\n", "etc/security/limits.d/20.conf.bak": "* - nofile 8\n"}).LoginLimits()
	if len(all) != 1 || all[0].Limit() != 7 {
		t.Errorf("the limits are %+v", all)
	}
}

// TestTwoNames: the tracker's table has two.
func TestTwoNames(t *testing.T) {
	h := with(t, "vps-4gb", map[string]string{"etc/sysctl.d/50-old.conf": "net.nf_conntrack_max = 5\n"})
	if a, found := h.AtBoot("net.netfilter.nf_conntrack_max"); !found || a.Value != "5" {
		t.Errorf("the line that decides is %+v", a)
	}
}

// TestWhatNobodyMayWrite: a container's root that is allowed /proc/sys/net may still not set what its network namespace only shows.
func TestWhatNobodyMayWrite(t *testing.T) {
	const table = "proc/sys/net/netfilter/nf_conntrack_max"
	tree := hosttest.Tree(t, "lxc")
	tree[table] = &fstest.MapFile{Data: []byte("65536\n"), Mode: 0o644}
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if why := h.WhyFixed(table); why != "" {
		t.Errorf("a file that may be written is fixed: %s", why)
	}
	tree[table].Mode = 0o444
	if why := h.WhyFixed(table); !strings.Contains(why, "network namespace") {
		t.Errorf("a file that nobody may write: %q", why)
	}
}

// TestLimitsThatSystemdIgnores: a value that it can't read leaves the one before it in force.
func TestLimitsThatSystemdIgnores(t *testing.T) {
	for _, value := range []string{"", "64K", "many", "65536 # enough", "-5", "2000:many"} {
		h := with(t, "vps-4gb", map[string]string{
			"etc/systemd/system/rookery.service.d/10.conf": "[Service]\nLimitNOFILE=5000\n",
			"etc/systemd/system/rookery.service.d/20.conf": "[Service]\nLimitNOFILE=" + value + "\n",
			"etc/systemd/system.conf":                      "[Manager]\nDefaultLimitNOFILE=" + value + "\n",
		})
		if s, _ := h.Unit.Last("LimitNOFILE"); s.Limit() != 5000 {
			t.Errorf("behind %q the limit is that of %+v", value, s)
		}
		if all := h.DefaultLimits(); len(all) > 0 {
			t.Errorf("with %q the manager has %+v", value, all)
		}
	}
}

// TestFilesThatMayNotBeRead are told, since the line that decides may be in one of them.
func TestFilesThatMayNotBeRead(t *testing.T) {
	for _, name := range []string{"etc/sysctl.d/60-copied.conf", "etc/systemd/system/rookery.service", "etc/systemd/system/rookery.service.d/10-limits.conf", "etc/security/limits.d/90-files.conf"} {
		h, err := host.Open(closed{hosttest.Tree(t, "recorded/conflicts"), name}, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Closed(); len(got) != 1 || got[0] != "/"+name {
			t.Errorf("where %s may not be read, these are named: %v", name, got)
		}
	}
	if got := with(t, "recorded/conflicts", nil).Closed(); len(got) > 0 {
		t.Errorf("where everything may be read, these are named: %v", got)
	}
}

// TestCommentsBehindNumbers: the kernel takes the numbers and does not look at what is behind them.
func TestCommentsBehindNumbers(t *testing.T) {
	h := with(t, "vps-4gb", map[string]string{"etc/sysctl.d/50-mine.conf": "vm.swappiness = 1 # low\r\nnet.ipv4.tcp_mem = 1 2 3 ; pages\nnet.core.default_qdisc = fq # fair\n"})
	for key, want := range map[string]string{"vm.swappiness": "1", "net.ipv4.tcp_mem": "1 2 3", "net.core.default_qdisc": "fq # fair"} {
		if a, _ := h.AtBoot(key); a.Value != want {
			t.Errorf("%s is set to %q, want %q", key, a.Value, want)
		}
	}
}

// TestInstances: what is not in the unit of an instance is in that of its template.
func TestInstances(t *testing.T) {
	files := map[string]string{
		"etc/systemd/system/rookery@.service":               "[Service]\nLimitNOFILE=2000\n",
		"etc/systemd/system/rookery@.service.d/10-all.conf": "[Service]\nLimitNOFILE=3000\n",
	}
	read := func() host.Unit {
		t.Helper()
		tree := hosttest.Tree(t, "vps-4gb")
		for name, text := range files {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
		h, err := host.Open(tree, host.Options{Unit: "rookery@eu.service"})
		if err != nil {
			t.Fatal(err)
		}
		return h.Unit
	}
	if s, _ := read().Last("LimitNOFILE"); read().File != "/etc/systemd/system/rookery@.service" || s.Limit() != 3000 {
		t.Errorf("of the template it takes %+v of %s", s, read().File)
	}
	files["usr/lib/systemd/system/rookery@eu.service.d/10-all.conf"] = "[Service]\nLimitNOFILE=4000\n"
	if s, _ := read().Last("LimitNOFILE"); s.Limit() != 4000 {
		t.Errorf("beside a drop-in of the instance it takes %+v", s)
	}
}
