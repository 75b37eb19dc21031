// Package channel is how a virtual machine and its host speak: values as JSON, a line each, over a connection that the guest opens
// when it has booted.
package channel

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// AddressVariable is the kernel parameter, and so a variable of the first process, that says where
// the host listens.
const AddressVariable = "VM_HOST"

// LinkVariable is the same for the addresses of the second network card, a comma between: the machine's own with its network, and a
// range of more of them. Without it there is no such card.
const LinkVariable = "VM_LINK"

// Connection carries values as lines. Send is safe from any goroutine, Receive belongs to one.
type Connection struct {
	in      *bufio.Reader
	writing sync.Mutex
	out     io.Writer
}

// New speaks over conn, which stays the caller's to close.
func New(conn io.ReadWriter) *Connection {
	return &Connection{in: bufio.NewReader(conn), out: conn}
}

// Send writes a value.
func (c *Connection) Send(value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("message to the other side: %w", err)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err = c.out.Write(append(b, '\n'))
	return err
}

// Receive reads the next value.
func (c *Connection) Receive(value any) error {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, value); err != nil {
		return fmt.Errorf("message %q from the other side: %w", line, err)
	}
	return nil
}
