package kerneltls

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"rookery/internal/records"
)

// probePatience is for what takes some microseconds.
const probePatience = 5 * time.Second

// Probe says why this kernel can't be given records, nil if it can: it has two sockets of ours speak with each other, in each suite. Whether keys
// and numbers are taken in the way that is meant shows in nothing else.
func Probe() error {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		if err := probe(suite); err != nil {
			return err
		}
	}
	return nil
}

func probe(suite uint16) error {
	here, there, err := pair()
	if err != nil {
		return fmt.Errorf("make two sockets to try the kernel's module tls with: %w", err)
	}
	defer here.Close()
	defer there.Close()
	keyBytes := 16
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		keyBytes = 32
	}
	// Nobody else ever has a record of these keys.
	one := records.Direction{Key: bytes.Repeat([]byte{1}, keyBytes), IV: bytes.Repeat([]byte{2}, 12), Sequence: 1}
	other := records.Direction{Key: bytes.Repeat([]byte{3}, keyBytes), IV: bytes.Repeat([]byte{4}, 12)}
	if err := Give(here, records.Keys{Suite: suite, Send: one, Receive: other}); err != nil {
		return err
	}
	if err := Give(there, records.Keys{Suite: suite, Send: other, Receive: one}); err != nil {
		return err
	}
	const text = "a record"
	for _, way := range [][2]*net.TCPConn{{here, there}, {there, here}} {
		got := make([]byte, len(text))
		if _, err := io.WriteString(way[0], text); err != nil {
			return fmt.Errorf("the kernel's module tls does not send: %w", err)
		}
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != text {
			return fmt.Errorf("the kernel's module tls opened %q as %q (error: %v)", text, got, err)
		}
	}
	if err := control(here, CloseNotify.Send); err != nil {
		return err
	}
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, unix.EIO) {
		return fmt.Errorf("the kernel's module tls gave an alert as data, or as another error than EIO: %v", err)
	}
	return control(there, func(fd int) error {
		t, content, err := Control(fd, make([]byte, 2))
		if err == nil && (t != TypeAlert || len(content) != 2 || content[1] != byte(CloseNotify)) {
			err = fmt.Errorf("the kernel's module tls gave an alert as a record %d, %x", t, content)
		}
		return err
	})
}

// pair gives two sockets that are connected with each other.
func pair() (here, there *net.TCPConn, err error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	deadline := time.Now().Add(probePatience)
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	here = conn.(*net.TCPConn)
	if err = listener.SetDeadline(deadline); err == nil {
		for there, err = listener.AcceptTCP(); err == nil && there.RemoteAddr().String() != here.LocalAddr().String(); {
			there.Close() // somebody else has found the port
			there, err = listener.AcceptTCP()
		}
	}
	if err != nil {
		here.Close()
		return nil, nil, err
	}
	return here, there, errors.Join(here.SetDeadline(deadline), there.SetDeadline(deadline))
}
