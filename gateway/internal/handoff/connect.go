package handoff

import (
	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// Connect asks an application whether a user may connect. It is answered by Granted.
type Connect struct {
	From    Handle
	ID      uint64 // of the request
	User    string
	Address string // the client's IP address
	Stream  bool   // raw TCP, not WebSocket
	Events  bool   // Server-Sent Events and POST
	Codec   proto.Codec
	Expires int64            // Unix milliseconds, 0: never
	Rights  *identity.Rights // nil is every room
	Renewal bool             // the connection has a session, and a new token
}

// Size is about what the question holds of memory.
func (c *Connect) Size() int { return 256 + len(c.User) + len(c.Address) }

// Grant is what an application lets who connects do, instead of what their token says.
type Grant struct{ Rights *identity.Rights }

// Ended tells an application that a session has ended.
type Ended struct {
	From Handle
	User string
	Code uint16 // that it was closed with, 0: the client left
}
