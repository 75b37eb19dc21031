package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Clone shares the blocks of a file (FICLONE). Btrfs and XFS can.
func (disk) Clone(oldPath, newPath string) error {
	from, err := os.Open(oldPath)
	if err != nil {
		return err
	}
	defer from.Close() // only read from
	to, err := os.OpenFile(newPath, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	err = onDescriptor(to, func(fd int) error {
		return onDescriptor(from, func(source int) error { return unix.IoctlFileClone(fd, source) })
	})
	if err = errors.Join(err, to.Close()); err != nil {
		err = errors.Join(&os.PathError{Op: "clone", Path: newPath, Err: err}, os.Remove(newPath))
	}
	return err
}
