package host

import (
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Probes are calls of the kernel or of a program, for what no file tells. One that is nil is not known.
type Probes struct {
	Free              func(dir string) (free, total int64, err error)
	SyncTimes         func(dir string, times int) ([]time.Duration, error)
	ClockSynchronized func() (bool, error)
	Ring              func(card string) (Ring, error)
	Offloads          func(card string) (Offloads, error)
	Rules             func(command []string) (string, error) // what a program that lists rules of filters says
}

func systemProbes() Probes {
	return Probes{freeBytes, syncTimes, clockSynchronized, ring, offloads, list}
}

func freeBytes(dir string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// syncTimes appends as the log does, and syncs each time.
func syncTimes(dir string, times int) (taken []time.Duration, err error) {
	file, err := os.CreateTemp(dir, "rookery-tune-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	block := make([]byte, 4096)
	for range times {
		began := time.Now()
		if _, err := file.Write(block); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		taken = append(taken, time.Since(began))
	}
	slices.Sort(taken)
	return taken, nil
}

func clockSynchronized() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // without modes it only reads
	if err != nil {
		return false, err
	}
	return state != unix.TIME_ERROR, nil
}

// Commands of ioctl SIOCETHTOOL, of linux/ethtool.h.
const (
	ethtoolGetRing = 0x10
	ethtoolGetTSO  = 0x1e
	ethtoolGetGSO  = 0x23
	ethtoolGetGRO  = 0x2b
)

// ringParameters is struct ethtool_ringparam.
type ringParameters struct {
	command                                                  uint32
	receiveMost, miniMost, jumboMost, transmitMost           uint32
	receivePending, miniPending, jumboPending, transmitQueue uint32
}

// flag is struct ethtool_value.
type flag struct{ command, value uint32 }

func ring(card string) (Ring, error) {
	p := ringParameters{command: ethtoolGetRing}
	if err := askCard(card, unsafe.Pointer(&p)); err != nil {
		return Ring{}, err
	}
	return Ring{int64(p.receivePending), int64(p.receiveMost), int64(p.transmitQueue), int64(p.transmitMost)}, nil
}

func offloads(card string) (Offloads, error) {
	var o Offloads
	for command, into := range map[uint32]*bool{ethtoolGetGRO: &o.ReceiveMerging, ethtoolGetTSO: &o.SegmentationByCard, ethtoolGetGSO: &o.Segmentation} {
		f := flag{command: command}
		if err := askCard(card, unsafe.Pointer(&f)); err != nil {
			return o, err
		}
		*into = f.value != 0
	}
	return o, nil
}

// askCard fills what is at data, which begins with a command.
func askCard(card string, data unsafe.Pointer) error {
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [16]byte // the kernel copies all of struct ifreq
	}
	if len(card) >= unix.IFNAMSIZ {
		return fmt.Errorf("%q is too long for the name of a network interface", card)
	}
	copy(request.name[:], card)
	request.data = data
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
