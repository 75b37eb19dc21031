//go:build unix

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// openFile is os.OpenFile without its attempt to wait for the file through the network poller, which
// no regular file takes: four system calls of eight for a file that is opened, read once and closed, as
// the log does with files it has no slot for.
func openFile(path string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR:
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

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
