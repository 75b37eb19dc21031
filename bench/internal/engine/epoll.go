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

// readNow and writeNow are read(2) and write(2) of a socket, which never wait. The Go runtime is not told of them, as it is by the functions
// of package unix: its monitor would take the processor from a call that lasts for 20 microseconds, which is what some take.
func readNow(fd int32, b []byte) (int, error)  { return callNow(unix.SYS_READ, fd, b) }
func writeNow(fd int32, b []byte) (int, error) { return callNow(unix.SYS_WRITE, fd, b) }

func callNow(call uintptr, fd int32, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
