// Package control is what the benchmarks and the machine that they measure in say to each other, by package channel: the host
// gives orders, each is answered with an event of its number, and events without a number say what the programs do.
package control

// SecretFile is where the machine has the key that tokens are signed with.
const SecretFile = "/secret"

// PlanFile is where the machine has the plan of the load.
const PlanFile = "/plan.yaml"

// AdminPort is the port of the server's admin listener, which the host can reach.
const AdminPort = 9090

// AsRentedVariable is the kernel parameter, and so a variable of the first process, that has the machine keep the kernel's own settings
// and limits. Without it there is room for millions of sockets.
const AsRentedVariable = "AS_RENTED"

// OrderKind says what the guest is to do.
type OrderKind string

const (
	// Start a program: rookery with Args and Environment, on Processor only; it and all that are started later may open so many
	// Descriptors, 0 changes nothing. The answer has its PID.
	Start OrderKind = "start"
	// Interrupt sends SIGINT to the process PID.
	Interrupt OrderKind = "interrupt"
	// TakeOver sends SIGUSR2 to the process PID: a rookery serve has another one take over from it.
	TakeOver OrderKind = "take over"
	// Read gives the file Path as Text.
	Read OrderKind = "read"
	// Children gives the PIDs of the children of PID.
	Children OrderKind = "children"
	// Collect measures what it costs to collect garbage on Processor, and gives it as Text: see package collecting.
	Collect OrderKind = "collect garbage"
)

// Order is sent by the host.
type Order struct {
	Number      int       `json:"number"` // from 1
	Kind        OrderKind `json:"kind"`
	Args        []string  `json:"args,omitempty"`
	Environment []string  `json:"environment,omitempty"`
	Path        string    `json:"path,omitempty"`
	Processor   int       `json:"processor,omitempty"` // from 0
	Descriptors uint64    `json:"descriptors,omitempty"`
	PID         int       `json:"pid,omitempty"`
}

// EventKind says what an event is.
type EventKind string

const (
	Done   EventKind = "done"   // the answer to an order
	Failed EventKind = "failed" // the answer to an order that could not be done; Text says why
	Said   EventKind = "said"   // Text is a line that the program PID wrote
	Ended  EventKind = "ended"  // the program PID has, with status Text
)

// Event is sent by the guest. Number is that of the order which it answers.
type Event struct {
	Number int       `json:"number,omitempty"`
	Kind   EventKind `json:"kind"`
	Text   string    `json:"text,omitempty"`
	PID    int       `json:"pid,omitempty"`
	PIDs   []int     `json:"pids,omitempty"`
}
