package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// client is the other end of the protocol, written from its specification and not from this package:
// the numbers are its own.
type client struct {
	t      *testing.T
	conn   net.Conn
	served chan error // what Serve returned
}

// dial starts to serve a disk. It reads the greeting and answers it with flags.
func dial(t *testing.T, d *Disk, delay Delay, flags uint32) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{t: t, conn: ours, served: make(chan error, 1)}
	go func() { c.served <- d.Serve(theirs, delay) }()
	if got, want := c.read(18), "NBDMAGICIHAVEOPT\x00\x03"; string(got) != want {
		t.Fatalf("the greeting is %q, want %q", got, want)
	}
	c.write(flags)
	return c
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatalf("read %d bytes: %v", n, err)
	}
	return b
}

// write sends numbers in network order, and bytes.
func (c *client) write(values ...any) {
	c.t.Helper()
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.BigEndian, v); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) option(kind uint32, data string) {
	c.t.Helper()
	c.write([]byte("IHAVEOPT"), kind, uint32(len(data)), []byte(data))
}

// open chooses the disk.
func open(t *testing.T, d *Disk, delay Delay) *client {
	t.Helper()
	c := dial(t, d, delay, 3)
	c.option(1, "any")
	c.read(10)
	return c
}

func (c *client) request(flags, command uint16, handle, offset uint64, length uint32, data []byte) {
	c.t.Helper()
	c.write(uint32(0x25609513), flags, command, handle, offset, length, data)
}

// answer reads one, and n bytes of data if it is not an error.
func (c *client) answer(n int) (handle uint64, code uint32, data []byte) {
	c.t.Helper()
	b := c.read(16)
	if binary.BigEndian.Uint32(b) != 0x67446698 {
		c.t.Fatalf("the answer begins with % x", b[:4])
	}
	code, handle = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])
	if code == 0 {
		data = c.read(n)
	}
	return handle, code, data
}

func (c *client) leave() {
	c.t.Helper()
	c.conn.Close()
	if err := <-c.served; err != nil {
		c.t.Errorf("Serve returned %v", err)
	}
}

func TestHandshake(t *testing.T) {
	export := "\x00\x00\x00\x00\x00\x00\x80\x00\x00\x0d" // 64 sectors; has flags, flush, FUA
	for _, c := range []struct {
		name  string
		flags uint32
		tail  int
	}{{"without zeroes", 3, 0}, {"with zeroes", 1, 124}, {"a client that knows only the oldest newstyle", 0, 124}} {
		t.Run(c.name, func(t *testing.T) {
			n := dial(t, newDisk(t), nil, c.flags)
			n.option(1, "disk")
			if got, want := string(n.read(10+c.tail)), export+string(make([]byte, c.tail)); got != want {
				t.Errorf("the disk is described with %q, want %q", got, want)
			}
			n.leave()
		})
	}
}

// TestOptionsAreRefusedOneByOne: a client asks for what it likes best first.
func TestOptionsAreRefusedOneByOne(t *testing.T) {
	c := dial(t, newDisk(t), nil, 3)
	for _, option := range []uint32{8, 7, 3, 5, 0xffffffff} { // structured replies, go, list, TLS
		c.option(option, "data of the option")
		want := binary.BigEndian.AppendUint32([]byte("\x00\x03\xe8\x89\x04\x55\x65\xa9"), option)
		want = append(want, "\x80\x00\x00\x01\x00\x00\x00\x00"...)
		if got := c.read(20); !bytes.Equal(got, want) {
			t.Errorf("option %d is answered with % x, want % x", option, got, want)
		}
	}
	c.option(1, "")
	c.read(10)
	c.request(0, 0, 1, 0, 512, nil)
	if _, code, _ := c.answer(512); code != 0 {
		t.Errorf("a read is answered with %d", code)
	}
	c.leave()
}

func TestHandshakeEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags uint32
		send  func(c *client)
		fault bool
	}{
		{"client aborts", 3, func(c *client) {
			c.option(2, "")
			if got, want := string(c.read(20)), "\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00"; got != want {
				c.t.Errorf("abort is answered with %q, want %q", got, want)
			}
		}, false},
		{"unknown flag", 4, func(*client) {}, true},
		{"wrong magic", 3, func(c *client) { c.write([]byte("IHAVEOPS"), uint32(1), uint32(0)) }, true},
		{"option without end", 3, func(c *client) { c.write([]byte("IHAVEOPT"), uint32(1), uint32(1<<30)) }, true},
		{"client hangs up", 3, func(c *client) { c.conn.Close() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := dial(t, newDisk(t), nil, c.flags)
			c.send(n)
			if err := <-n.served; (err != nil) != c.fault {
				t.Errorf("Serve returned %v, want an error: %v", err, c.fault)
			}
			if _, err := n.conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection goes on")
			}
			n.conn.Close()
		})
	}
}

func TestRequests(t *testing.T) {
	const end = testSectors * SectorBytes
	d := newDisk(t)
	c := open(t, d, nil)
	for i, r := range []struct {
		name           string
		flags, command uint16
		offset         uint64
		length         uint32
		data           []byte
		code           uint32
		want           []byte
	}{
		{"write", 0, 1, 512, 1024, sectors(2, 7), 0, nil},
		{"read", 0, 0, 0, 2048, nil, 0, append(append(sectors(1, 0), sectors(2, 7)...), sectors(1, 0)...)},
		{"write through", 1, 1, 0, 512, sectors(1, 8), 0, nil},
		{"flush", 0, 3, 0, 0, nil, 0, nil},
		{"flush with a flag that says nothing about it", 1, 3, 0, 0, nil, 0, nil},
		{"read of the last sector", 0, 0, end - 512, 512, nil, 0, sectors(1, 0)},
		{"read beyond the end", 0, 0, end - 512, 1024, nil, 22, nil},
		{"write beyond the end", 0, 1, end, 512, sectors(1, 1), 28, nil},
		{"offset over all numbers", 0, 1, 1<<64 - 512, 512, sectors(1, 1), 28, nil},
		{"half a sector", 0, 0, 256, 512, nil, 22, nil},
		{"trim, which was not offered", 0, 4, 0, 512, nil, 22, nil},
		{"unknown command", 0, 77, 0, 0, nil, 22, nil},
		{"unknown flag", 1 << 4, 0, 0, 512, nil, 22, nil},
		{"unknown flag of a write, whose data is taken", 1 << 4, 1, 0, 512, sectors(1, 9), 22, nil},
		{"read after all of it", 0, 0, 0, 512, nil, 0, sectors(1, 8)},
	} {
		c.request(r.flags, r.command, uint64(100+i), r.offset, r.length, r.data)
		handle, code, data := c.answer(len(r.want))
		if handle != uint64(100+i) || code != r.code || !bytes.Equal(data, r.want) {
			t.Fatalf("%s: answered with handle %d, code %d, %d bytes; want %d, %d, %d and the same", r.name, handle, code, len(data), 100+i, r.code, len(r.want))
		}
	}
	c.request(0, 2, 0, 0, 0, nil)
	if err := <-c.served; err != nil {
		t.Errorf("after a client that says goodbye Serve returned %v", err)
	}
}

func TestRequestsThatEndTheConnection(t *testing.T) {
	for name, send := range map[string]func(*client){
		"wrong magic": func(c *client) { c.write(uint32(0x25609514), make([]byte, 24)) },
		"too long":    func(c *client) { c.request(0, 0, 1, 0, 1<<30, nil) },
		"cut short":   func(c *client) { c.write(uint32(0x25609513)); c.conn.Close() },
	} {
		c := open(t, newDisk(t), nil)
		send(c)
		if err := <-c.served; err == nil {
			t.Errorf("%s: Serve returned no error", name)
		}
		c.conn.Close()
	}
}

// TestFlushCoversWhatWasAnswered has a slow flush: a write that is answered while it runs is not its.
func TestFlushCoversWhatWasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := open(t, d, func() time.Duration { return time.Second })
		c.request(0, 1, 1, 0, 512, sectors(1, 1))
		c.answer(0)
		begun := time.Now()
		c.request(0, 3, 2, 0, 0, nil)
		c.request(0, 1, 3, 512, 512, sectors(1, 2))
		if handle, code, _ := c.answer(0); handle != 3 || code != 0 {
			t.Errorf("first came the answer to %d with %d, want the write's", handle, code)
		}
		if handle, code, _ := c.answer(0); handle != 2 || code != 0 || time.Since(begun) < time.Second {
			t.Errorf("then came the answer to %d with %d after %v, want the flush's after a second", handle, code, time.Since(begun))
		}
		d.Cut(KeepNone, seeded(1))
		c.leave()
		d.TurnOn()
		if got := marks(t, d, 0, 2); !bytes.Equal(got, []byte{1, 0}) {
			t.Errorf("after the cut the sectors are %v, want [1 0]", got)
		}
	})
}

// TestNoPowerNoAnswer: a flush that was under way is never answered, nor is anything after it, and the
// connection does not end before the machine does.
func TestNoPowerNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := open(t, d, func() time.Duration { return time.Second })
		c.request(0, 1, 1, 0, 512, sectors(1, 1))
		c.answer(0)
		c.request(0, 3, 2, 0, 0, nil)
		synctest.Wait()
		d.Cut(KeepNone, seeded(1))
		c.request(0, 0, 3, 0, 512, nil)
		c.request(0, 1, 4, 0, 512, sectors(1, 3))
		c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		var late net.Error
		if n, err := c.conn.Read(make([]byte, 16)); !errors.As(err, &late) || !late.Timeout() {
			t.Errorf("a disk without power said %d bytes, %v; want nothing", n, err)
		}
		c.leave()
		d.TurnOn()
		if got := marks(t, d, 0, 1); got[0] != 0 {
			t.Errorf("the sector is %d, want 0", got[0])
		}
	})
}
