//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	// messages go to everybody, one after the other, each of textBytes.
	messages, textBytes = 40, 200
	// patience is for each step of a client.
	patience = 2 * time.Minute
	// openers connect at the same time.
	openers = 4
	room    = "measured"
)

// client speaks raw TCP, with or without TLS.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	ids  uint64
}

// open connects and makes a session.
func open(address string, config *tls.Config, user string) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, 512)}
	if _, err = io.WriteString(conn, proto.Preface); err == nil {
		_, err = c.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user}}})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect as %s: %w", user, err)
	}
	return c, nil
}

func (c *client) send(f *v1.ClientFrame) error {
	c.ids++
	f.Id = c.ids
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write(proto.AppendClientFrame(nil, proto.Binary, f))
	return err
}

// ask sends a request and gives its reply; what comes before that is not looked at.
func (c *client) ask(f *v1.ClientFrame) (*v1.ServerFrame, error) {
	if err := c.send(f); err != nil {
		return nil, err
	}
	for {
		reply, err := c.next()
		switch {
		case err != nil:
			return nil, err
		case reply.GetError() != nil:
			return nil, fmt.Errorf("answered with %s: %s", reply.GetError().Name, reply.GetError().Message)
		case reply.Id == c.ids:
			return reply, nil
		}
	}
}

func (c *client) next() (*v1.ServerFrame, error) {
	size, err := binary.ReadUvarint(c.in)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, err
	}
	f := &v1.ServerFrame{}
	return f, proto.DecodeServerFrame(f, proto.Binary, b)
}

// receive reads until all messages are there.
func (c *client) receive() error {
	for left := messages; left > 0; {
		if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		f, err := c.next()
		if err != nil {
			return fmt.Errorf("%d messages are missing: %w", left, err)
		}
		if f.GetMessage() != nil {
			left--
		}
	}
	return nil
}

// crowd are clients of one server.
type crowd []*client

// grow adds n clients.
func (c *crowd) grow(n int, address string, config *tls.Config) error {
	first := len(*c)
	*c = append(*c, make([]*client, n)...)
	all := *c
	return atOnce(openers, n, func(i int) (err error) {
		all[first+i], err = open(address, config, fmt.Sprintf("user-%d", first+i))
		return err
	})
}

// deliver has everybody in the room, and everything that the last one publishes with everybody.
func (c crowd) deliver() error {
	publisher := c[len(c)-1]
	text := strings.Repeat("x", textBytes)
	others := c[:len(c)-1]
	return atOnce(len(c), len(c), func(i int) error {
		if i < len(others) {
			return others[i].receive()
		}
		for n := range messages {
			if _, err := publisher.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
				Room: room, Key: fmt.Sprint(n), Content: &v1.Publish_Text{Text: text},
			}}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// join has all but the last, who publishes, in the room.
func (c crowd) join() error {
	return atOnce(openers, len(c)-1, func(i int) error {
		_, err := c[i].ask(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}})
		return err
	})
}

func (c crowd) leave() {
	for _, one := range c {
		if one != nil {
			one.conn.Close()
		}
	}
}

// atOnce has goroutines, so many, do all that is numbered, and gives the first error.
func atOnce(goroutines, n int, do func(i int) error) error {
	var running sync.WaitGroup
	var once sync.Once
	var fault error
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range goroutines {
		running.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					once.Do(func() { fault = err })
					return
				}
			}
		})
	}
	running.Wait()
	return fault
}
