package host_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strconv"
	"testing"
	"testing/fstest"

	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

func TestPlaces(t *testing.T) {
	for name, want := range map[string]string{
		"vps-1gb": "virtual machine (QEMU)", "new-kernel": "virtual machine (Hetzner)", "lxc": "LXC container", "docker": "Docker container",
	} {
		if got := hosttest.Open(t, name, host.Options{}).Place.String(); got != want {
			t.Errorf("%s is a %s, want %s", name, got, want)
		}
	}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, c := range map[string]struct {
		files map[string]*fstest.MapFile
		want  host.Place
	}{
		"a machine":                 {nil, host.Place{Kind: host.Metal}},
		"a hypervisor's flag":       {map[string]*fstest.MapFile{"proc/cpuinfo": file("flags\t: fpu hypervisor\n")}, host.Place{Kind: host.Virtual}},
		"WSL":                       {map[string]*fstest.MapFile{"proc/sys/kernel/osrelease": file("6.6.87.2-microsoft-standard-WSL2\n")}, host.Place{Kind: host.WSL}},
		"OpenVZ":                    {map[string]*fstest.MapFile{"proc/vz/version": file("1"), "proc/cpuinfo": file("flags: hypervisor")}, host.Place{Kind: host.OpenVZ}},
		"the node of OpenVZ":        {map[string]*fstest.MapFile{"proc/vz/version": file("1"), "proc/bc/0": file("1")}, host.Place{Kind: host.Metal}},
		"a pod":                     {map[string]*fstest.MapFile{"run/secrets/kubernetes.io/serviceaccount/token": file("x"), ".dockerenv": file("")}, host.Place{Kind: host.Kubernetes}},
		"a pod without a token":     {map[string]*fstest.MapFile{"proc/1/environ": file("KUBERNETES_SERVICE_HOST=10.0.0.1\x00")}, host.Place{Kind: host.Kubernetes}},
		"Podman":                    {map[string]*fstest.MapFile{"run/.containerenv": file("")}, host.Place{Kind: host.Podman}},
		"a variable of init":        {map[string]*fstest.MapFile{"proc/1/environ": file("HOME=/\x00container=lxc\x00")}, host.Place{Kind: host.LXC}},
		"mapped users":              {map[string]*fstest.MapFile{"proc/self/uid_map": file("0 100000 65536")}, host.Place{Kind: host.Container, Mapped: true}},
		"settings that are mounted": {map[string]*fstest.MapFile{"proc/self/mounts": file("proc /proc proc rw 0 0\nproc /proc/sys proc ro,nosuid 0 0\n")}, host.Place{Kind: host.Container}},
		"a disk that was made of an image": {map[string]*fstest.MapFile{".dockerenv": file(""), "proc/self/mounts": file("/dev/vda / ext4 rw 0 0\n")},
			host.Place{Kind: host.Metal}},
	} {
		tree := fstest.MapFS{"proc/meminfo": file("MemTotal: 1000 kB\n")}
		for name, f := range c.files {
			tree[name] = f
		}
		h, err := host.Open(tree, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if h.Place != c.want {
			t.Errorf("%s: %+v, want %+v", name, h.Place, c.want)
		}
	}
	if _, err := host.Open(fstest.MapFS{}, host.Options{}); err == nil {
		t.Error("an empty tree is a machine")
	}
}

func TestWhatIsFixed(t *testing.T) {
	lxc, docker, machine := hosttest.Open(t, "lxc", host.Options{}), hosttest.Open(t, "docker", host.Options{}), hosttest.Open(t, "vps-4gb", host.Options{})
	for _, c := range []struct {
		h    *host.Host
		path string
		want string
	}{
		{lxc, "proc/sys/net/core/somaxconn", ""},
		{lxc, "proc/sys/fs/nr_open", "it is read-only in this LXC container"},
		{docker, "proc/sys/net/core/somaxconn", "it is read-only in this Docker container"},
		{machine, "proc/sys/fs/nr_open", ""},
		{machine, "sys/class/net/eth0/queues/rx-0/rps_cpus", ""},
	} {
		if got := c.h.WhyFixed(c.path); got != c.want {
			t.Errorf("%s in a %s: %q, want %q", c.path, c.h.Place, got, c.want)
		}
	}
}

// TestAtBoot: which line decides, of files in all directories.
func TestAtBoot(t *testing.T) {
	h := hosttest.Open(t, "conflicts", host.Options{})
	for key, want := range map[string]string{
		"net.core.somaxconn":      "/etc/sysctl.d/zzz-last.conf:1 1024",
		"net.ipv4.tcp_syncookies": "/etc/sysctl.d/10-network.conf:2 0",
		"net.core.rmem_max":       "/etc/sysctl.d/60-copied.conf:5 134217728", // written with slashes
		"net.core.default_qdisc":  "/usr/lib/sysctl.d/50-default.conf:5 fq_codel",
		"net.ipv4.tcp_mem":        "/etc/sysctl.d/60-copied.conf:4 1048576 2097152 3145728",
		// A pattern, and a key that is named beside it.
		"net.ipv4.conf.eth0.rp_filter": "/usr/lib/sysctl.d/50-default.conf:3 2",
	} {
		a, found := h.AtBoot(key)
		if got := a.File + ":" + strconv.Itoa(a.Line) + " " + a.Value; !found || got != want {
			t.Errorf("%s is set by %q, want %q", key, got, want)
		}
	}
	if a, found := h.AtBoot("net.ipv4.tcp_fin_timeout"); found {
		t.Errorf("nobody sets tcp_fin_timeout, got %+v", a)
	}
	// The file of lower rank with the same name, and a sysctl.conf that nothing leads to.
	for name, file := range map[string]string{"conflicts": "/usr/lib/sysctl.d/60-copied.conf", "new-kernel": "/etc/sysctl.conf"} {
		ignored := false
		for _, a := range hosttest.Open(t, name, host.Options{}).Assignments() {
			ignored = ignored || a.File == file && a.Ignored != ""
		}
		if !ignored {
			t.Errorf("%s: %s is not told to be ignored", name, file)
		}
	}
	// A link leads to it, so it counts.
	if a, found := hosttest.Open(t, "old-kernel", host.Options{}).AtBoot("net.ipv4.tcp_fin_timeout"); !found || a.File != "/etc/sysctl.d/99-sysctl.conf" {
		t.Errorf("the link to sysctl.conf is not followed: %+v", a)
	}
	// Without systemd sysctl.conf is read last.
	tree := hosttest.Tree(t, "new-kernel")
	delete(tree, "run/systemd/system/.there")
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := h.AtBoot("net.core.somaxconn"); a.File != "/etc/sysctl.conf" {
		t.Errorf("without systemd sysctl.conf does not count: %+v", a)
	}
}

func TestGateway(t *testing.T) {
	h := hosttest.Open(t, "conflicts", host.Options{})
	g := h.Gateway
	if g == nil || g.PID != 812 || g.Hard != 100000 || g.Open != 6 || g.Unit != "rookery.service" || g.Data() != "/var/lib/rookery" || g.Resident != 21980<<10 {
		t.Fatalf("the gateway is %+v", g)
	}
	if s, set := h.Unit.Last("LimitNOFILE"); !set || s.Limit() != 100000 || s.File != "/etc/systemd/system/rookery.service.d/limits.conf" || s.Line != 2 {
		t.Errorf("the limit of the unit is %+v", s)
	}
	if b, found := h.MemoryBound(); !found || b.Amount != 3<<30 {
		t.Errorf("the bound of memory is %+v, %v", b, found)
	}
	if b, found := hosttest.Open(t, "lxc", host.Options{}).ProcessorBound(); !found || b.Amount != 1.5 || b.File != "/sys/fs/cgroup/cpu.max" {
		t.Errorf("the bound of processors is %+v, %v", b, found)
	}
	if h := hosttest.Open(t, "vps-4gb", host.Options{}); h.Gateway != nil || h.Unit.Name != "rookery.service" || h.Unit.File != "" {
		t.Errorf("a gateway is seen where there is none: %+v %+v", h.Gateway, h.Unit)
	}
	if _, err := host.Open(hosttest.Tree(t, "vps-4gb"), host.Options{PID: 4711}); err == nil {
		t.Error("a process that is not there is found")
	}
	if h, err := host.Open(hosttest.Tree(t, "conflicts"), host.Options{PID: 812, Unit: "chat.service"}); err != nil || h.Unit.Name != "chat.service" {
		t.Errorf("the unit that was asked for: %+v, %v", h.Unit, err)
	}
	// Several: that with the most memory. One of a user's own units is of none.
	tree := hosttest.Tree(t, "conflicts")
	for name, text := range map[string]string{
		"proc/90/cmdline": "/home/u/rookery\x00serve\x00", "proc/90/status": "VmRSS:\t  99000 kB\n", "proc/90/limits": "Max open files  1024  unlimited  files\n",
		"proc/90/cgroup":  "0::/user.slice/user-1000.slice/user@1000.service/app.slice/rookery.service\n",
		"proc/91/cmdline": "vim\x00serve\x00", "proc/91/status": "VmRSS: 999000 kB\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	h, err := host.Open(tree, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if g := h.Gateway; g.PID != 90 || g.Hard != host.Unlimited || g.Unit != "" || g.Open != -1 {
		t.Errorf("of two gateways it is %+v", g)
	}
}

// closed is a tree of which a file may not be read.
type closed struct {
	fstest.MapFS
	name string
}

func (c closed) Open(name string) (fs.File, error) {
	if name == c.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.MapFS.Open(name)
}

func (c closed) ReadFile(name string) ([]byte, error) {
	if name == c.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.MapFS.ReadFile(name)
}

func TestWhatMayNotBeReadSaysSo(t *testing.T) {
	h, err := host.Open(closed{hosttest.Tree(t, "vps-1gb"), "proc/812/limits"}, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(h.Gateway.Unreadable, fs.ErrPermission) {
		t.Errorf("limits that may not be read: %v", h.Gateway.Unreadable)
	}
	if r := h.Sysctl("net.no.such"); !errors.Is(r.Err, fs.ErrNotExist) || r.Number(0) != 0 {
		t.Errorf("a setting that is not there: %+v", r)
	}
}

func TestMask(t *testing.T) {
	for _, c := range []struct {
		processors int
		like, want string
	}{
		{2, "0", "3"}, {1, "0", "1"}, {4, "f", "f"}, {8, "00", "ff"}, {6, "00", "3f"}, {16, "00000000,00000000", "00000000,0000ffff"},
		{40, "0000,00000000", "00ff,ffffffff"}, {64, "0000", "ffff"},
	} {
		if got := host.Mask(c.processors, c.like); got != c.want {
			t.Errorf("the mask of %d processors like %s is %s, want %s", c.processors, c.like, got, c.want)
		}
	}
}

// TestHere reads the machine that runs the test.
func TestHere(t *testing.T) {
	h, err := host.Here(host.Options{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if h.Memory.Total < 1<<28 || h.Processors < 1 || h.Kernel.Major < 3 || h.Gateway.Hard < 10 || h.Gateway.Open < 3 {
		t.Errorf("this machine is %+v, its process %+v", h, h.Gateway)
	}
	if times, err := h.SyncTimes(t.TempDir(), 3); err != nil || len(times) != 3 || times[0] <= 0 {
		t.Errorf("syncs took %v, %v", times, err)
	}
	if free, total, err := h.Free("/"); err != nil || free > total || total < 1<<20 {
		t.Errorf("free are %d of %d, %v", free, total, err)
	}
	if text, err := h.Rules(); err == nil && text == "" && !h.Module("nf_tables") && !h.Module("ip_tables") {
		t.Error("there are rules of filters without a module for any")
	}
	h.ClockSynchronized()       // some containers may not ask
	for _, c := range h.Cards { // what a card does not tell is an error, not a crash
		h.Ring(c.Name)
		h.Offloads(c.Name)
		h.Interrupts(c)
	}
}

func TestTypical(t *testing.T) {
	h, err := host.Typical(4<<30, 2)
	if err != nil {
		t.Fatal(err)
	}
	if h.Memory.Total >= 4<<30 || h.Processors != 2 || !h.Systemd() || h.Place.Kind != host.Virtual || h.Sysctl("net.ipv4.tcp_mem").Number(2) != 98304 {
		t.Errorf("a machine of 4 GiB is %+v", h)
	}
	// Memory and defaults are those of machines that were recorded; what the kernel has taken when it computes these makes them a little smaller there.
	for name, memory := range map[string]int64{"vps-1gb": 1 << 30, "vps-2gb": 2 << 30, "vps-4gb": 4 << 30, "vps-8gb": 8 << 30, "vps-16gb": 16 << 30} {
		recorded := hosttest.Open(t, "recorded/"+name, host.Options{})
		typical, err := host.Typical(memory, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := float64(typical.Memory.Total), float64(recorded.Memory.Total); math.Abs(got-want) > want/500 {
			t.Errorf("memory of %s is %.0f, recorded is %.0f", name, got, want)
		}
		if other := hosttest.Open(t, "recorded/vps-4gb", host.Options{Memory: memory}).Memory.Total; other>>10 != typical.Memory.Total>>10 {
			t.Errorf("another machine computed with the memory of %s has %d, such a machine %d", name, other, typical.Memory.Total)
		}
		for _, key := range []string{
			"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets", "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_syn_backlog",
			"net.ipv4.tcp_mem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.core.somaxconn", "net.core.netdev_max_backlog", "fs.nr_open", "fs.file-max", "net.ipv4.tcp_tw_reuse",
		} {
			got, want := typical.Sysctl(key).Numbers(), recorded.Sysctl(key).Numbers()
			if len(got) != len(want) || len(got) == 0 {
				t.Fatalf("%s of %s is %v, recorded is %v", key, name, got, want)
			}
			for i := range got {
				if got[i] < want[i] || float64(got[i]) > float64(want[i])*1.2 {
					t.Errorf("%s of %s is %v, recorded is %v", key, name, got, want)
				}
			}
		}
	}
}
