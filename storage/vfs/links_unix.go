//go:build unix

package vfs

import (
	"os"
	"syscall"
)

func (disk) Links(path string) (int, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return int(info.Sys().(*syscall.Stat_t).Nlink), nil
}
