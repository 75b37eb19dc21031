package kerneltls

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"rookery/internal/records"
)

// From linux/tls.h.
const (
	optionSend, optionReceive  = 1, 2 // TLS_TX, TLS_RX
	setRecordType              = 1    // TLS_SET_RECORD_TYPE
	getRecordType              = 2    // TLS_GET_RECORD_TYPE
	version13                  = 0x0304
	cipherAES128, cipherAES256 = 51, 52
)

// ErrHalf is of a socket that sends records and does not receive them. It is good for nothing but to be closed.
var ErrHalf = errors.New("the kernel seals records of a connection and does not open them")

// Give gives the records of a connection to the kernel, from the next one on in both directions. After an error other than ErrHalf the
// connection is as it was, or does the same.
func Give(conn syscall.Conn, keys records.Keys) error {
	return control(conn, func(fd int) error { return attach(fd, keys) })
}

func attach(fd int, keys records.Keys) error {
	send, err := cryptoInfo(keys.Suite, &keys.Send)
	if err != nil {
		return err
	}
	receive, err := cryptoInfo(keys.Suite, &keys.Receive)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_ULP, "tls"); err != nil {
		return fmt.Errorf("give a socket to the kernel's module tls: %w", err)
	}
	if err := unix.SetsockoptString(fd, unix.SOL_TLS, optionSend, send); err != nil {
		return fmt.Errorf("give the kernel keys to send with: %w", err)
	}
	if err := unix.SetsockoptString(fd, unix.SOL_TLS, optionReceive, receive); err != nil {
		return errors.Join(ErrHalf, fmt.Errorf("give the kernel keys to receive with: %w", err))
	}
	return nil
}

// cryptoInfo is struct tls12_crypto_info_aes_gcm_128 or _256 of linux/tls.h. That has salt and iv apart, as TLS 1.2 needs them.
func cryptoInfo(suite uint16, d *records.Direction) (string, error) {
	const saltBytes, ivBytes = 4, 8
	var cipher uint16
	keyBytes := 16
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		cipher = cipherAES128
	case tls.TLS_AES_256_GCM_SHA384:
		cipher, keyBytes = cipherAES256, 32
	}
	if cipher == 0 || len(d.Key) != keyBytes || len(d.IV) != saltBytes+ivBytes {
		return "", fmt.Errorf("the suite %s, with %d bytes of a key, is none that the kernel is given", tls.CipherSuiteName(suite), len(d.Key))
	}
	var b bytes.Buffer
	b.Write(binary.NativeEndian.AppendUint16(nil, version13))
	b.Write(binary.NativeEndian.AppendUint16(nil, cipher))
	b.Write(d.IV[saltBytes:])
	b.Write(d.Key)
	b.Write(d.IV[:saltBytes])
	b.Write(binary.BigEndian.AppendUint64(nil, d.Sequence))
	return b.String(), nil
}

// control has f work on a connection's descriptor.
func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}
