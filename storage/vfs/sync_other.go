//go:build !linux

package vfs

import "os"

// syncData is the full sync: on macOS os.File.Sync asks the drive itself (F_FULLFSYNC),
// which fdatasync there would not.
func syncData(f *os.File) error { return f.Sync() }
