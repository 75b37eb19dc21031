//go:build linux

// Guest is the first process of the machine whose power is cut: it mounts the disk, runs the server on it and tells the host
// what happens.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"rookery/test/powercut/control"
	"rookery/test/vm/channel"
	"rookery/test/vm/guest"
)

func main() {
	guest.Main(os.Stdout, func(host *channel.Connection) error {
		m := &machine{host: host}
		err := m.live()
		m.tell(control.Failed, err.Error())
		return err
	})
}

// machine is this one.
type machine struct {
	host *channel.Connection
	plan control.Plan
}

// tell has nobody to report an error to.
func (m *machine) tell(kind control.EventKind, text string) {
	m.host.Send(control.Event{Kind: kind, Text: text})
}

// live does what the plan says, and returns only if something went wrong: the host ends the machine.
func (m *machine) live() error {
	// A server needs a descriptor for each connection.
	if err := guest.LimitDescriptors(1 << 16); err != nil {
		return err
	}
	if err := m.host.Receive(&m.plan); err != nil {
		return err
	}
	m.tell(control.Mounting, "")
	if err := unix.Mount("/dev/vda", control.MountPoint, m.plan.Filesystem, 0, m.plan.Options); err != nil {
		return fmt.Errorf("mount %s with %q: %w", m.plan.Filesystem, m.plan.Options, err)
	}
	free, err := freeBytes()
	if err == nil && m.plan.Room > 0 && free > m.plan.Room {
		err = makeBallast(ballastPath, free-m.plan.Room)
	}
	if err != nil {
		return err
	}
	packed, err := countPacked(control.DataDirectory)
	if err != nil {
		return err
	}
	m.host.Send(control.Event{Kind: control.Starting, Free: free, Packed: packed})
	server, ended, err := m.start()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	go m.obeyLoop(server)
	status := <-ended
	m.tell(control.Ended, status)
	if err := unix.Unmount(control.MountPoint, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	m.tell(control.Unmounted, "")
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
func (m *machine) start() (*exec.Cmd, <-chan string, error) {
	server := exec.Command("/rookery", m.plan.Server...)
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
			m.tell(control.Said, lines.Text())
		}
		server.Wait() // its status is looked at below
		ended <- server.ProcessState.String()
	}()
	return server, ended, nil
}

// obeyLoop takes the host's orders. It ends with the machine.
func (m *machine) obeyLoop(server *exec.Cmd) {
	for {
		var order control.Order
		if err := m.host.Receive(&order); err != nil {
			return
		}
		switch order.Kind {
		case control.Leave:
			server.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		case control.DropBallast:
			if err := os.Remove(ballastPath); err != nil {
				m.tell(control.Failed, err.Error())
			}
		}
	}
}
