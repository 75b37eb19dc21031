package vm

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"rookery/internal/porttest"
	"rookery/test/vm/channel"
)

const (
	// bootPatience is far over the time that a machine takes, on a host that is busy, and debianPatience the same for one that
	// starts a whole Debian.
	bootPatience, debianPatience = 90 * time.Second, 8 * time.Minute
	// bootTries is for machines that don't reach us in that time, which happens where something on the
	// host leaves them no processor. Nothing was done in them then, so that another try is the same.
	bootTries = 4
)

// Config says how a machine is built.
type Config struct {
	Kernel     *Kernel
	Initramfs  string // path, made by Contents
	Processors int
	MemoryMiB  int // taken from the host as the machine touches it
	// Parameters are more words for the kernel.
	Parameters []string
	// Port is one of the machine that the host can reach at Machine.Address.
	Port int
	// Link joins it to another machine. Nil: there is none.
	Link *Link
	// Image is a file that is the machine's disk, and is written to. "": there is none.
	Image string
	// Disk serves the machine's only disk, over NBD, on one connection at a time until that ends. Nil: there is no disk.
	Disk func(net.Conn)
	// Dir is a directory for what the machine says, and for sockets.
	Dir string
	// Counted has the machine's clock count what its processors do, NanosecondsAnInstruction for each: processor times are numbers of instructions, whatever
	// else the host does. One of its processors runs at a time.
	Counted bool
}

// NanosecondsAnInstruction of a machine that is Counted, a power of two.
const NanosecondsAnInstruction = 4

// Machine is one boot of a virtual machine, from its power switch to Off.
type Machine struct {
	Address string // of Config.Port, on the host
	Console string // file of the kernel's messages
	// Guest is the way to the first process. It fails when the machine is off.
	Guest *channel.Connection

	process *exec.Cmd
	ended   chan struct{}
}

// Boot turns a machine on and waits until its first process reaches us; hung is how often it came to nothing. The
// end of ctx turns it off.
func Boot(ctx context.Context, c Config) (m *Machine, hung int, err error) {
	for hung = range bootTries {
		if m, err = boot(ctx, c); err == nil || ctx.Err() != nil {
			break
		}
	}
	return m, hung, err
}

func boot(ctx context.Context, c Config) (*Machine, error) {
	m := &Machine{Console: filepath.Join(c.Dir, "console"), ended: make(chan struct{})}
	socket := filepath.Join(c.Dir, "disk.socket")
	disks, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	guests, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	defer guests.Close()
	forwarded, err := porttest.Take()
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	m.Address = "127.0.0.1:" + forwarded
	said, err := os.Create(filepath.Join(c.Dir, "qemu"))
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	defer said.Close()
	port := guests.Addr().(*net.TCPAddr).Port
	m.process = exec.CommandContext(ctx, "qemu-system-x86_64", arguments(c, socket, m.Address, m.Console, port)...)
	// If we are killed, so is the machine.
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.process.Stdout, m.process.Stderr = said, said
	if err := m.process.Start(); err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	served := make(chan struct{})
	go func() { // ends when the process does
		defer close(served)
		serveDisk(disks, c.Disk)
	}()
	go func() { // ends when the process does
		m.process.Wait() // it is killed, or has turned itself off
		guests.Close()
		disks.Close()
		<-served
		close(m.ended)
	}()
	patience := bootPatience
	if c.Image != "" {
		patience = debianPatience
	}
	guests.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := guests.Accept()
	if err != nil {
		m.Off()
		return nil, fmt.Errorf("machine does not boot: %w; QEMU and its console said:\n%s\n%s", err, LastWords(said.Name()), LastWords(m.Console))
	}
	m.Guest = channel.New(conn)
	go func() { // ends when the process does
		<-m.ended
		conn.Close()
	}()
	return m, nil
}

// serveDisk lets the machine have its disk.
func serveDisk(disks net.Listener, serve func(net.Conn)) {
	for {
		conn, err := disks.Accept()
		if err != nil {
			return
		}
		serve(conn) // one at a time: QEMU opens the disk once
	}
}

// Wait waits until the machine has turned itself off.
func (m *Machine) Wait() { <-m.ended }

// Off takes the power away and waits until nobody uses the disk.
func (m *Machine) Off() {
	m.process.Process.Kill() // an error means that it has ended
	<-m.ended
}

// LastWords is the end of a file, for an error.
func LastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-1000):])
}

// arguments of QEMU: a machine without KVM, so that it can be had everywhere, and with nothing that
// takes time to look for.
func arguments(c Config, socket, address, console string, hostPort int) []string {
	host, port, _ := net.SplitHostPort(address)
	parameters := "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nopti nowatchdog tsc=reliable random.trust_cpu=on " +
		"no_timer_check cryptomgr.notests init_on_alloc=0 hardened_usercopy=off audit=0 apparmor=0 " +
		fmt.Sprintf("%s=10.0.2.2:%d", channel.AddressVariable, hostPort)
	if c.Link != nil {
		parameters += " " + c.Link.parameter()
	}
	accelerator := []string{"-accel", "tcg,thread=multi,tb-size=256"}
	if c.Counted {
		accelerator = []string{"-accel", "tcg,thread=single,tb-size=256", "-icount", fmt.Sprintf("shift=%d", bits.TrailingZeros(NanosecondsAnInstruction))}
	}
	arguments := append(accelerator,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off",
		// Protections and string instructions that cost an emulator much and hide nothing from a test.
		"-cpu", "max,-la57,-smap,-smep,-umip,-pku,-pcid,-erms,-fsrm",
		"-smp", fmt.Sprint(c.Processors), "-m", fmt.Sprintf("%dM", c.MemoryMiB),
		"-kernel", c.Kernel.Image, "-initrd", c.Initramfs,
		"-append", strings.Join(append([]string{parameters}, c.Parameters...), " "),
		"-chardev", "file,id=console,path="+console, "-serial", "chardev:console",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:%s:%s-:%d", host, port, c.Port),
		"-device", "virtio-net-pci,netdev=net,romfile=",
	)
	if c.Link != nil {
		arguments = append(arguments, c.Link.arguments()...) // the second card: eth1
	}
	if c.Image != "" {
		arguments = append(arguments, "-drive", "if=none,id=image,format=raw,cache=unsafe,file="+c.Image, "-device", "virtio-blk-pci,drive=image")
	}
	if c.Disk != nil {
		arguments = append(arguments,
			// No cache between the machine and the disk: a flush is a flush.
			"-drive", "if=none,id=disk,format=raw,cache=none,file.driver=nbd,file.server.type=unix,file.server.path="+socket,
			"-device", "virtio-blk-pci,drive=disk")
	}
	return arguments
}
