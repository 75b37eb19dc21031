package host

import (
	"errors"
	"time"
)

// errNotAsked is why something that no file tells is not known.
var errNotAsked = errors.New("it can only be asked on the machine itself")

// FileSystem is the kind of file system that an absolute path is on, "" where that is not known.
func (h *Host) FileSystem(dir string) string { return h.mountOf(dir).kind }

// Free is how many bytes of the file system of a directory are free and how many it has.
func (h *Host) Free(dir string) (free, total int64, err error) {
	if h.probes.Free == nil {
		return 0, 0, errNotAsked
	}
	return h.probes.Free(dir)
}

// SyncTimes are the times that writing and syncing 4 KiB in a directory takes, in rising order. It writes a file there
// and removes it.
func (h *Host) SyncTimes(dir string, times int) ([]time.Duration, error) {
	if h.probes.SyncTimes == nil {
		return nil, errNotAsked
	}
	return h.probes.SyncTimes(dir, times)
}

// ClockSynchronized says whether the kernel takes its clock for synchronised.
func (h *Host) ClockSynchronized() (bool, error) {
	if h.probes.ClockSynchronized == nil {
		return false, errNotAsked
	}
	return h.probes.ClockSynchronized()
}
