package kerneltls

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types of records, RFC 8446 5.1.
const (
	TypeAlert     = 21
	TypeHandshake = 22
	TypeData      = 23
)

// Alerts, RFC 8446 6.
const (
	CloseNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	DecodeError       Alert = 50
)

// Alert is what a record of that type says.
type Alert byte

// Send sends an alert, as far as the socket takes it now: behind it nothing more can be sent that is worth reading.
func (a Alert) Send(fd int) error {
	const warning, fatal = 1, 2
	level := byte(fatal)
	if a == CloseNotify {
		level = warning
	}
	_, err := unix.SendmsgN(fd, []byte{level, byte(a)}, recordType(TypeAlert), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err != nil {
		return fmt.Errorf("send the alert %d: %w", a, err)
	}
	return nil
}

// recordType is the control message that says what a record is to be.
func recordType(t byte) []byte {
	b := make([]byte, unix.CmsgSpace(1))
	head := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	head.Level, head.Type = unix.SOL_TLS, setRecordType
	head.SetLen(unix.CmsgLen(1))
	b[unix.CmsgLen(0)] = t
	return b
}

// Control takes the record at which a read has failed with EIO: its type, and of what is in it what b has room for.
func Control(fd int, b []byte) (recordType byte, content []byte, err error) {
	space := make([]byte, unix.CmsgSpace(1))
	n, spaceUsed, _, _, err := unix.Recvmsg(fd, b, space, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, nil, fmt.Errorf("read a record that is no data: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(space[:spaceUsed])
	if err != nil {
		return 0, nil, fmt.Errorf("read the type of a record: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_TLS && m.Header.Type == getRecordType && len(m.Data) > 0 {
			return m.Data[0], b[:n], nil
		}
	}
	return 0, nil, errors.New("the kernel does not say of what type a record is")
}

// Opened is how many bytes of records the kernel has opened of what a socket received, the handshake's included. A record that is being opened
// may count or not.
func Opened(fd int) (int64, error) {
	// unix.GetsockoptTCPInfo would allocate, for every connection some times a heartbeat.
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	if _, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return 0, fmt.Errorf("ask how much a socket has received: %w", errno)
	}
	waiting, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("ask how much of it waits: %w", err)
	}
	return int64(info.Bytes_received) - int64(waiting), nil
}

// Roomy reports whether a socket has room for a record and what may wait before it. The kernel takes a record as soon as it has any room, and sends
// its rest later; what has not left when our half of the connection ends never does.
func Roomy(fd int) bool {
	sockets := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(sockets, 0)
	return err == nil && n == 1 && sockets[0].Revents&unix.POLLOUT != 0
}
