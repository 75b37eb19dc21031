//go:build linux

// Package guest is how the first process of a virtual machine begins: it makes a machine of what the kernel gives, and reaches the
// host. The first process is the only program that the machine has to have, so that booting takes seconds also where
// the processor is emulated.
package guest

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rookery/test/vm/channel"
)

// Main is the main function of a first process: live does what the machine is for. When it returns, or nobody can be
// reached, the reason is on the console, which is the process's standard output, and the machine is off. What is in
// memory only is lost, as it should be if something went wrong.
func Main(console io.Writer, live func(host *channel.Connection) error) {
	// Nobody else can be told if there is no network.
	fmt.Fprintln(console, "guest:", run(live))
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run(live func(host *channel.Connection) error) error {
	if err := prepare(); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", os.Getenv(channel.AddressVariable))
	if err != nil {
		return fmt.Errorf("reach the host: %w", err)
	}
	return live(channel.New(conn))
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
	if err := bringUp("lo", net.IPv4(127, 0, 0, 1), net.CIDRMask(8, 32)); err != nil {
		return err
	}
	// The addresses of QEMU's user network.
	if err := bringUp("eth0", net.IPv4(10, 0, 2, 15), net.CIDRMask(24, 32)); err != nil {
		return err
	}
	return link(os.Getenv(channel.LinkVariable))
}

// link brings up the card that leads to another machine, if there is one.
func link(addresses string) error {
	if addresses == "" {
		return nil
	}
	own, more, found := strings.Cut(addresses, ",")
	address, network, err := net.ParseCIDR(own)
	if err != nil {
		return fmt.Errorf("addresses of the link: %w", err)
	}
	if err := bringUp("eth1", address, network.Mask); err != nil || !found {
		return err
	}
	_, sources, err := net.ParseCIDR(more)
	if err != nil {
		return fmt.Errorf("addresses of the link: %w", err)
	}
	// Of the network of an address on the loopback interface the kernel takes every address for its own, and answers for it on all cards.
	return bringUp("lo:1", sources.IP, sources.Mask)
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

// LimitDescriptors sets how many files this process, and each one that it starts, may open: init is given few.
func LimitDescriptors(n uint64) error {
	limit := unix.Rlimit{Cur: n, Max: n}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	return nil
}
