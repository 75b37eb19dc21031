//go:build linux

package measure

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnProcessor starts a process that keeps to one processor, numbered from 0, as its starter's thread does for that moment.
func OnProcessor(number int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("look at the processors: %w", err)
	}
	one.Set(number)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep to processor %d: %w", number, err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &all))
}
