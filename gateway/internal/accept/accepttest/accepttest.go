// Package accepttest has a listener of one connection, so that a test can have a server answer on a pipe.
package accepttest

import "net"

type one struct {
	conn    net.Conn
	waiting chan net.Conn // closed with the listener
}

// One gives a connection once, and then none until it is closed, which a server does once.
func One(conn net.Conn) net.Listener {
	l := &one{conn: conn, waiting: make(chan net.Conn, 1)}
	l.waiting <- conn
	return l
}

func (l *one) Accept() (net.Conn, error) {
	conn, open := <-l.waiting
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l *one) Addr() net.Addr { return l.conn.LocalAddr() }

func (l *one) Close() error {
	close(l.waiting)
	return nil
}
