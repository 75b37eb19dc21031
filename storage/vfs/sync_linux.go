package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData leaves out the file's times, which fsync would journal too.
func syncData(f *os.File) error { return onDescriptor(f, unix.Fdatasync) }
