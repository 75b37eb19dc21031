package kerneltls

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"unsafe"

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
	defer clear(send)
	receive, err := cryptoInfo(keys.Suite, &keys.Receive)
	if err != nil {
		return err
	}
	defer clear(receive)
	if err := unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_ULP, "tls"); err != nil {
		return fmt.Errorf("give a socket to the kernel's module tls: %w", err)
	}
	if err := set(fd, optionSend, send); err != nil {
		return fmt.Errorf("give the kernel keys to send with: %w", err)
	}
	if err := set(fd, optionReceive, receive); err != nil {
		return errors.Join(ErrHalf, fmt.Errorf("give the kernel keys to receive with: %w", err))
	}
	return nil
}

// set gives the kernel the keys of one direction, without another copy of them, which a string would be.
func set(fd, option int, info []byte) error {
	return unix.SetsockoptString(fd, unix.SOL_TLS, option, unsafe.String(unsafe.SliceData(info), len(info)))
}

// cryptoInfo is struct tls12_crypto_info_aes_gcm_128 or _256 of linux/tls.h. That has salt and iv apart, as TLS 1.2 needs them.
func cryptoInfo(suite uint16, d *records.Direction) ([]byte, error) {
	const saltBytes, ivBytes, restBytes = 4, 8, 2 + 2 + 8
	var cipher uint16
	keyBytes := 16
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		cipher = cipherAES128
	case tls.TLS_AES_256_GCM_SHA384:
		cipher, keyBytes = cipherAES256, 32
	}
	if cipher == 0 || len(d.Key) != keyBytes || len(d.IV) != saltBytes+ivBytes {
		return nil, fmt.Errorf("the suite %s, with %d bytes of a key, is none that the kernel is given", tls.CipherSuiteName(suite), len(d.Key))
	}
	b := make([]byte, 0, restBytes+len(d.IV)+len(d.Key)) // it does not grow: what it grew from would not be cleared
	b = binary.NativeEndian.AppendUint16(b, version13)
	b = binary.NativeEndian.AppendUint16(b, cipher)
	b = append(b, d.IV[saltBytes:]...)
	b = append(b, d.Key...)
	b = append(b, d.IV[:saltBytes]...)
	return binary.BigEndian.AppendUint64(b, d.Sequence), nil
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
