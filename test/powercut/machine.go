package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"rookery/test/powercut/control"
	"rookery/test/powercut/disk"
)

const (
	// bootPatience is far over the time that a machine takes, on a host that is busy.
	bootPatience = 90 * time.Second
	// bootTries is for machines that don't reach us in that time, which happens where something on the
	// host leaves them no processor. No file system is mounted then, so that another try is the same
	// round.
	bootTries = 4
)

// machine is one boot of a virtual machine, from its power switch to the cut.
type machine struct {
	// Set by boot.
	disk    *disk.Disk
	process *exec.Cmd
	address string // of the server, on the host
	console string // file of the kernel's messages

	events chan control.Event // closed when the machine is off
	host   *control.Connection
	ended  chan struct{} // closed when the process is gone and the disk is not used any more
}

// parts say how a machine is built.
type parts struct {
	kernel, initramfs string
	processors        int
	flushTakes        time.Duration // at most
}

// bootAtLast is boot, more than once if it has to be; hung is how often it came to nothing.
func bootAtLast(ctx context.Context, dir string, p parts, d *disk.Disk, random *rand.Rand) (m *machine, hung int, err error) {
	for hung = range bootTries {
		if m, err = boot(ctx, dir, p, d, random); err == nil || ctx.Err() != nil {
			break
		}
	}
	return m, hung, err
}

// boot turns a machine on and waits until it asks what to do. The disk must have power.
func boot(ctx context.Context, dir string, p parts, d *disk.Disk, random *rand.Rand) (m *machine, err error) {
	m = &machine{
		disk: d, console: filepath.Join(dir, "console"),
		events: make(chan control.Event, 1000), ended: make(chan struct{}),
	}
	socket := filepath.Join(dir, "disk.socket")
	disks, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	guests, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	defer guests.Close()
	if m.address, err = freeAddress(); err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	port := guests.Addr().(*net.TCPAddr).Port
	m.process = exec.CommandContext(ctx, "qemu-system-x86_64", arguments(p, socket, m.address, m.console, port)...)
	// If we are killed, so is the machine.
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.Create(filepath.Join(dir, "qemu"))
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	defer said.Close()
	m.process.Stdout, m.process.Stderr = said, said
	if err := m.process.Start(); err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	served := make(chan struct{})
	go func() { // ends when the process does
		defer close(served)
		m.serveDisk(disks, p.flushTakes, random)
	}()
	go func() { // ends when the process does
		m.process.Wait() // it is always killed
		guests.Close()
		disks.Close()
		<-served
		close(m.ended)
	}()
	guests.(*net.TCPListener).SetDeadline(time.Now().Add(bootPatience))
	conn, err := guests.Accept()
	if err != nil {
		m.off()
		return nil, fmt.Errorf("machine does not boot: %w; QEMU and its console said:\n%s\n%s", err, lastWords(said.Name()), lastWords(m.console))
	}
	m.host = control.NewConnection(conn)
	go func() { // ends when the process does
		defer conn.Close()
		defer close(m.events)
		for {
			var event control.Event
			if m.host.Receive(&event) != nil {
				return
			}
			m.events <- event
		}
	}()
	return m, nil
}

// lastWords is the end of a file, for an error.
func lastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-1000):])
}

// serveDisk lets the machine have its disk.
func (m *machine) serveDisk(disks net.Listener, flushTakes time.Duration, random *rand.Rand) {
	delay := func() time.Duration {
		if flushTakes == 0 {
			return 0
		}
		return time.Duration(random.Int64N(int64(flushTakes)))
	}
	for {
		conn, err := disks.Accept()
		if err != nil {
			return
		}
		// One at a time: QEMU opens the disk once. An error is that of a machine that was killed.
		m.disk.Serve(conn, delay)
	}
}

// cut takes the power away: from the disk first, so that nothing that happens from then on lasts.
func (m *machine) cut(d decision) disk.Cut {
	defer m.off()
	if d.writes == 0 {
		return m.disk.Cut(d.policy, d.random)
	}
	armed := m.disk.Arm(d.writes, d.policy, d.random)
	timer := time.NewTimer(d.patience)
	defer timer.Stop()
	select {
	case what := <-armed:
		return what
	case <-timer.C:
	}
	what := m.disk.Cut(d.policy, d.random)
	select {
	case first := <-armed: // between the two
		return first
	default:
		return what
	}
}

// off ends the process and waits until nobody uses the disk.
func (m *machine) off() {
	m.process.Process.Kill() // an error means that it has ended
	<-m.ended
}

// freeAddress is one that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// arguments of QEMU: a machine without KVM, so that it can be had everywhere, and with nothing that
// takes time to look for.
func arguments(p parts, socket, address, console string, controlPort int) []string {
	host, port, _ := net.SplitHostPort(address)
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off",
		"-accel", "tcg,thread=multi,tb-size=256",
		// Protections and string instructions that cost an emulator much and hide nothing from a test.
		"-cpu", "max,-la57,-smap,-smep,-umip,-pku,-pcid,-erms,-fsrm",
		"-smp", fmt.Sprint(p.processors), "-m", "512M",
		"-kernel", p.kernel, "-initrd", p.initramfs,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nopti nowatchdog tsc=reliable random.trust_cpu=on " +
			"no_timer_check cryptomgr.notests init_on_alloc=0 hardened_usercopy=off audit=0 apparmor=0 " +
			fmt.Sprintf("%s=10.0.2.2:%d", control.AddressVariable, controlPort),
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		// No cache between the machine and our disk: a flush is a flush.
		"-drive", "if=none,id=disk,format=raw,cache=none,file.driver=nbd,file.server.type=unix,file.server.path=" + socket,
		"-device", "virtio-blk-pci,drive=disk",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:%s:%s-:%d", host, port, control.Port),
		"-device", "virtio-net-pci,netdev=net,romfile=",
	}
}
