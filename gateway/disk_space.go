package gateway

import "syscall"

// disk is how large a file system is, and how much of it those who are not root may still write.
type disk struct{ size, free int64 }

// diskOf asks the kernel about the file system of a directory. It answers from memory, also where the disk does not.
func diskOf(dir string) disk {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return disk{-1, -1}
	}
	return disk{size: int64(fs.Blocks) * fs.Frsize, free: int64(fs.Bavail) * fs.Frsize}
}
