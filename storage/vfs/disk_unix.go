//go:build unix

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func lockFile(f *os.File) error {
	err := onDescriptor(f, func(fd int) error {
		return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	})
	if err == unix.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

// onDescriptor keeps the descriptor from being closed and reused during call, which a bare
// Fd() would not.
func onDescriptor(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) {
		callErr = call(int(fd))
		for callErr == unix.EINTR {
			callErr = call(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return callErr
}
