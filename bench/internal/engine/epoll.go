package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollWait is epoll_pwait2(2), which golang.org/x/sys has no function for.
func epollWait(poll int, events []unix.EpollEvent, timeout *unix.Timespec) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(poll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
