//go:build linux

// Guest is the first process of the machine whose power is cut: it loads the drivers, mounts the disk,
// runs the server on it and tells the host what happens. It is the only program beside the server in
// the machine, so that booting takes seconds also where the processor is emulated.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"rookery/test/powercut/control"
)

func main() {
	// To the console: nobody else can be told if there is no network.
	fmt.Println("powercut guest:", run())
	turnOff()
}

// turnOff ends the machine. What is in memory only is lost, as it should be if something went wrong.
func turnOff() {
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// run returns only if something went wrong: the host ends the machine.
func run() error {
	if err := prepare(); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", os.Getenv(control.AddressVariable))
	if err != nil {
		return fmt.Errorf("reach the host: %w", err)
	}
	g := &guest{host: control.NewConnection(conn)}
	err = g.live()
	g.tell(control.Failed, err.Error())
	return err
}

// prepare makes a machine of what the kernel gives.
func prepare() error {
	for _, m := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	// Their names say in which order.
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, path := range modules {
		if err := loadModule(path); err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	// A server needs a descriptor for each connection; init is given few.
	limit := unix.Rlimit{Cur: 1 << 16, Max: 1 << 16}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	if err := bringUp("lo", net.IPv4(127, 0, 0, 1), net.CIDRMask(8, 32)); err != nil {
		return err
	}
	// The addresses of QEMU's user network.
	return bringUp("eth0", net.IPv4(10, 0, 2, 15), net.CIDRMask(24, 32))
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.FinitModule(int(file.Fd()), "", 0)
}

// bringUp gives a network interface its address.
func bringUp(name string, address net.IP, mask net.IPMask) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	set := func(what uint, value []byte) {
		if err == nil {
			if err = request.SetInet4Addr(value); err == nil {
				err = unix.IoctlIfreq(socket, what, request)
			}
		}
	}
	set(unix.SIOCSIFADDR, address.To4())
	set(unix.SIOCSIFNETMASK, mask)
	if err == nil {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
	}
	if err != nil {
		return fmt.Errorf("network interface %s: %w", name, err)
	}
	return nil
}

// guest is the machine once it can talk.
type guest struct {
	host *control.Connection
	plan control.Plan
}

// tell has nobody to report an error to.
func (g *guest) tell(kind control.EventKind, text string) {
	g.host.Send(control.Event{Kind: kind, Text: text})
}

// live does what the plan says, and returns as run does.
func (g *guest) live() error {
	if err := g.host.Receive(&g.plan); err != nil {
		return err
	}
	g.tell(control.Mounting, "")
	if err := unix.Mount("/dev/vda", control.MountPoint, g.plan.Filesystem, 0, g.plan.Options); err != nil {
		return fmt.Errorf("mount %s with %q: %w", g.plan.Filesystem, g.plan.Options, err)
	}
	free, err := freeBytes()
	if err == nil && g.plan.Room > 0 && free > g.plan.Room {
		err = makeBallast(ballastPath, free-g.plan.Room)
	}
	if err != nil {
		return err
	}
	packed, err := countPacked(control.DataDirectory)
	if err != nil {
		return err
	}
	g.host.Send(control.Event{Kind: control.Starting, Free: free, Packed: packed})
	server, ended, err := g.start()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	go g.obeyLoop(server)
	status := <-ended
	g.tell(control.Ended, status)
	if err := unix.Unmount(control.MountPoint, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	g.tell(control.Unmounted, "")
	// The host cuts the power; until then the event must reach it.
	select {}
}

func freeBytes() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(control.MountPoint, &s); err != nil {
		return 0, fmt.Errorf("room on the disk: %w", err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// countPacked counts the segments with a generation, see the package doc of storage/commitlog.
func countPacked(dir string) (int, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return 0, err
	}
	packed := 0
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		var header [64]byte
		_, err = io.ReadFull(file, header[:])
		if err == nil && binary.LittleEndian.Uint32(header[48:]) > 0 {
			packed++
		}
		file.Close()
	}
	return packed, nil
}

const ballastPath = control.MountPoint + "/ballast"

// makeBallast does nothing where one is. A file of no size is one whose making the power cut short.
func makeBallast(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() == 0 {
		err = errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, bytes), file.Sync())
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	return nil
}

// start runs the server; ended gets its status once all that it said was told.
func (g *guest) start() (*exec.Cmd, <-chan string, error) {
	server := exec.Command("/rookery", g.plan.Server...)
	server.Env = []string{"HOME=/"}
	said, err := server.StderrPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan string, 1)
	go func() { // ends with the server
		for lines := bufio.NewScanner(said); lines.Scan(); {
			g.tell(control.Said, lines.Text())
		}
		server.Wait() // its status is looked at below
		ended <- server.ProcessState.String()
	}()
	return server, ended, nil
}

// obeyLoop takes the host's orders. It ends with the machine.
func (g *guest) obeyLoop(server *exec.Cmd) {
	for {
		var order control.Order
		if err := g.host.Receive(&order); err != nil {
			return
		}
		switch order.Kind {
		case control.Leave:
			server.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		case control.DropBallast:
			if err := os.Remove(ballastPath); err != nil {
				g.tell(control.Failed, err.Error())
			}
		}
	}
}
