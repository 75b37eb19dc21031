package watch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"rookery/bench/plan"
)

func TestServerSeconds(t *testing.T) {
	page := int64(os.Getpagesize())
	root := host(map[string]string{
		"proc/7/stat": statLine(7, 100, 55), "proc/7/comm": "server\n",
		"proc/7/status":                             "Cpus_allowed_list:\t0-3\n",
		"proc/7/limits":                             "Max open files            1024                 20000                files     \n",
		"proc/7/task/7/schedstat":                   "1000000000 0 1",
		"proc/7/task/8/schedstat":                   "2000000000 0 1",
		"proc/7/fd/0":                               "",
		"proc/7/fd/1":                               "",
		"proc/7/fd/2":                               "",
		"proc/7/cgroup":                             "1:cpu:/x\n0::/system.slice/server\n",
		"sys/fs/cgroup/cpu.max":                     "max 100000\n",
		"sys/fs/cgroup/a/cpu.max":                   "1 100000\n",
		"sys/fs/cgroup/system.slice/cpu.max":        "150000 100000\n",
		"sys/fs/cgroup/system.slice/server/cpu.max": "max 100000\n",
	})
	s := findServer(context.Background(), root, plan.Server{PID: 7})
	s.second(at(0))

	root["proc/7/stat"].Data = []byte(statLine(7, 220, 55))
	root["proc/7/task/8/schedstat"].Data = []byte("2900000000 0 9")
	root["proc/7/task/9/schedstat"] = &fstest.MapFile{Data: []byte("9900000000 0 9")} // new: what it did is not of this second alone
	got := s.second(at(1))
	if !got.Seen || !near(got.CPUSeconds, 1.2) || !near(got.SystemSeconds, 0.3) || !near(got.BusiestThread, 0.9) || !near(got.Cores, 1.5) {
		t.Errorf("the first second was %+v", got)
	}
	if got.MemoryBytes != 50*page || got.Descriptors != 3 || got.DescriptorsMax != 1024 || got.Threads != 3 || got.Unseen != "" {
		t.Errorf("the first second was %+v", got)
	}

	root["proc/7/stat"].Data = []byte(statLine(7, 3, 99)) // another process with the number
	for second := range 2 {
		got = s.second(at(float64(second + 2)))
		if got.Seen || got.CPUSeconds != 0 || !strings.Contains(got.Unseen, "7 (server) ended") {
			t.Errorf("when it had ended: %+v", got)
		}
	}
}

func TestServerOfTwoProcesses(t *testing.T) {
	root := host(map[string]string{
		"proc/7/stat": statLine(7, 100, 1), "proc/7/status": "Cpus_allowed_list:\t0-1\n",
		"proc/8/stat": statLine(8, 200, 2), "proc/8/status": "Cpus_allowed_list:\t0-1\n",
	})
	s := &server{root: root}
	s.add(7)
	s.add(8)
	root["proc/7/stat"].Data = []byte(statLine(7, 130, 1))
	root["proc/8/stat"].Data = []byte(statLine(8, 250, 2))
	if got := s.second(at(1)); !near(got.CPUSeconds, 0.8) || got.Cores != 2 || got.Threads != 6 {
		t.Errorf("both are %+v", got)
	}
	delete(root, "proc/7/stat")
	root["proc/8/stat"].Data = []byte(statLine(8, 260, 2))
	if got := s.second(at(2)); !got.Seen || !near(got.CPUSeconds, 0.1) || !strings.Contains(got.Unseen, "7 () ended") {
		t.Errorf("the one that is left is %+v", got)
	}
}

// TestDescriptorsByTheKernel: a kernel that tells the number is believed, and the folder is not read.
func TestDescriptorsByTheKernel(t *testing.T) {
	if got, want := countDescriptors(sized{400_000}, 7), int64(400_000); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	many := fstest.MapFS{}
	for i := range mostDescriptors + 5 {
		many[inProc(7, "fd", fmt.Sprint(i))] = &fstest.MapFile{}
	}
	if got := countDescriptors(many, 7); got != mostDescriptors {
		t.Errorf("%d were counted one by one, want %d at most", got, mostDescriptors)
	}
}

// sized is a folder whose size is a number and that has no list.
type sized struct{ size int64 }

type sizedFile struct {
	fs.FileInfo
	size int64
}

func (s sized) Open(string) (fs.File, error)   { return sizedFile{size: s.size}, nil }
func (f sizedFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f sizedFile) Size() int64                { return f.size }
func (f sizedFile) Read([]byte) (int, error)   { panic("the folder is read") }
func (f sizedFile) Close() error               { return nil }

func TestNetworkOfServer(t *testing.T) {
	root := host(map[string]string{"proc/7/stat": statLine(7, 100, 1)})
	link := func(name, to string) { root[name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	s := &server{root: root}
	if got := s.network(); got != "proc/self/net" {
		t.Errorf("without a server it is %s", got)
	}
	s.add(7)
	link("proc/self/ns/net", "net:[1]")
	link("proc/7/ns/net", "net:[1]")
	if got := s.network(); got != "proc/self/net" {
		t.Errorf("in the same namespace it is %s", got)
	}
	link("proc/7/ns/net", "net:[2]")
	if got := s.network(); got != "proc/7/net" {
		t.Errorf("in another namespace it is %s", got)
	}
}
