package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	commandRead  = 0
	commandWrite = 1
	commandLeave = 2
	commandFlush = 3

	flagFUA = 1 << 0

	errorInvalid = 22 // EINVAL
	errorNoSpace = 28 // ENOSPC

	requestBytes = 28
	// maxRequestBytes is what clients keep to when nothing else was agreed.
	maxRequestBytes = 32 << 20
)

// Delay is how long a flush takes; a real one takes longest of all that a disk does. Called for each
// flush, from one goroutine of the connection. nil is no time.
type Delay func() time.Duration

// Serve answers the requests of one client until it leaves; then the connection is closed. A disk
// without power is silent: if it hung up, its machine would see an error and could tell somebody before
// it is off itself.
func (d *Disk) Serve(conn net.Conn, delay Delay) error {
	defer conn.Close()
	if err := d.handshake(conn); err != nil {
		if errors.Is(err, errAborted) {
			return nil
		}
		return fmt.Errorf("NBD handshake: %w", err)
	}
	s := &session{disk: d, conn: conn, in: bufio.NewReaderSize(conn, 256<<10), delay: delay}
	defer s.flushes.Wait()
	// Before that wait: what still flushes then finds nobody to tell.
	defer conn.Close()
	for {
		err := s.request()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errLeft):
			return nil
		case errors.Is(err, errNoPower):
			io.Copy(io.Discard, s.in) // until the machine is off, however that ends
			return nil
		case err != nil:
			return fmt.Errorf("NBD request: %w", err)
		}
	}
}

var errLeft = errors.New("client left")

// session is a client that has chosen the disk.
type session struct {
	// Set at construction.
	disk  *Disk
	conn  net.Conn
	delay Delay

	// Owned by Serve's goroutine.
	in   *bufio.Reader
	data []byte

	flushes sync.WaitGroup
	writing sync.Mutex // one answer at a time
}

// request takes one request. All but flushes are done when it returns.
func (s *session) request() error {
	var b [requestBytes]byte
	if _, err := io.ReadFull(s.in, b[:]); err != nil {
		return err
	}
	if magic := binary.BigEndian.Uint32(b[:]); magic != magicRequest {
		return fmt.Errorf("magic is %#x", magic)
	}
	flags, command := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	handle := binary.BigEndian.Uint64(b[8:])
	offset, length := binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint32(b[24:])
	if length > maxRequestBytes {
		return fmt.Errorf("length is %d, over %d", length, maxRequestBytes)
	}
	if command == commandWrite {
		if s.data = s.data[:0]; cap(s.data) < int(length) {
			s.data = make([]byte, 0, length)
		}
		s.data = s.data[:length]
		if _, err := io.ReadFull(s.in, s.data); err != nil {
			return err
		}
	}
	if flags&^flagFUA != 0 {
		// "The server SHOULD return EINVAL if it receives an unknown command flag."
		return s.answer(handle, errorInvalid, nil)
	}
	switch command {
	case commandRead:
		b := make([]byte, length)
		_, err := s.disk.readAt(b, int64(offset))
		return s.settle(handle, errorInvalid, b, err)
	case commandWrite:
		write := s.disk.writeAt
		if flags&flagFUA != 0 {
			// "it MUST NOT send its reply to that command until all write operations (if any)
			// associated with that command have been completed and persisted to non-volatile storage"
			write = s.disk.writeThrough
		}
		_, err := write(s.data, int64(offset))
		// "The server SHOULD return ENOSPC if it receives a write request including one or more
		// sectors beyond the size of the device."
		return s.settle(handle, errorNoSpace, nil, err)
	case commandFlush:
		s.flush(handle)
		return nil
	case commandLeave:
		return errLeft
	}
	// "The server SHOULD return EINVAL if it receives an unknown command."
	return s.answer(handle, errorInvalid, nil)
}

// flush takes its time while other requests go on: "The server MUST NOT send a successful reply header
// for this request before all write requests for which a reply has already been sent to the client have
// reached permanent storage".
func (s *session) flush(handle uint64) {
	mark := s.disk.mark()
	var takes time.Duration
	if s.delay != nil {
		takes = s.delay()
	}
	s.flushes.Go(func() {
		if takes > 0 {
			time.Sleep(takes)
		}
		err := s.settle(handle, errorInvalid, nil, s.disk.flushTo(mark))
		if err != nil && !errors.Is(err, errNoPower) {
			s.conn.Close() // Serve sees it
		}
	})
}

// settle answers what the disk has done. A disk without power answers nobody.
func (s *session) settle(handle uint64, code uint32, data []byte, err error) error {
	switch {
	case errors.Is(err, errNoPower):
		return err
	case err != nil:
		return s.answer(handle, code, nil)
	}
	return s.answer(handle, 0, data)
}

func (s *session) answer(handle uint64, code uint32, data []byte) error {
	b := make([]byte, 0, 16+len(data))
	b = binary.BigEndian.AppendUint32(b, magicAnswer)
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint64(b, handle)
	b = append(b, data...)
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.conn.Write(b)
	return err
}
