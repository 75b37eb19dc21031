// Package worker runs one part of a load: a process with an event loop and the users on it, that does what a coordinator tells it over
// a pair of pipes, or over a TCP connection that an agent on another host has made into such a pair.
//
//	messages.go  what coordinator and worker say to each other
//	worker.go    the worker
//	agent.go     workers for a coordinator on another host
//
// Both directions are JSON values, one a line. The worker answers each Order with one Report, in their order; between them it
// reports each Second by itself. It ends when its input does.
package worker

import (
	"rookery/bench/internal/crowd"
	"rookery/bench/result"
)

// Order is what a coordinator wants: one of the fields is set.
type Order struct {
	// Clock asks for the worker's clock.
	Clock bool `json:"clock,omitempty"`
	// Begin gives the worker its part; it comes first, after Clock.
	Begin *crowd.Part `json:"begin,omitempty"`
	// Epoch is when second 0 of the run begins, by the coordinator's clock. Set with Begin.
	Epoch int64 `json:"epoch,omitempty"`
	// Fill has rooms filled, Connect has users come, and Load begins the load, at At by the coordinator's clock.
	Fill    bool  `json:"fill,omitempty"`
	Connect bool  `json:"connect,omitempty"`
	Load    bool  `json:"load,omitempty"`
	At      int64 `json:"at,omitempty"`
	// End ends the load before its time, at At.
	End bool `json:"end,omitempty"`
	// Status asks how far it is, with Known whether everybody got what is owed.
	Status bool `json:"status,omitempty"`
	// Heads asks for what is new of the rooms since it was last asked for.
	Heads bool `json:"heads,omitempty"`
	// Settle ends the run by these heads; the answer is Final. Connections stay, so that the last second is one like the others.
	Settle bool `json:"settle,omitempty"`
	// Leave begins to close the connections; Status tells when it is done.
	Leave bool `json:"leave,omitempty"`
	// Known is what is new of the rooms by all workers, with Status and Settle.
	Known *crowd.News `json:"known,omitempty"`
}

// Report is a worker's answer, or its Second.
type Report struct {
	// Error ends the run. The others are then not set.
	Error  string  `json:"error,omitempty"`
	Hello  *Hello  `json:"hello,omitempty"` // first of all, asked for by nobody
	Clock  int64   `json:"clock,omitempty"`
	Done   bool    `json:"done,omitempty"` // Begin, Fill, Connect, Load
	Status *Status `json:"status,omitempty"`
	Heads  *Heads  `json:"heads,omitempty"`
	Final  *Final  `json:"final,omitempty"`
	Second *Second `json:"second,omitempty"`
}

// Hello says what the worker runs on.
type Hello struct {
	Version     string `json:"version"`
	Name        string `json:"name"` // of the host
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Descriptors uint64 `json:"descriptors"` // that the process may open
}

// Status is how far the worker is.
type Status struct {
	crowd.Status
	// Complete: everybody has got what is owed, by all that came with this order and those before.
	Complete bool `json:"complete"`
	// Heard is how many deliveries, answers and connections have come so far.
	Heard int64 `json:"heard"`
	// Unanswered publishes and marks.
	Unanswered int64  `json:"unanswered"`
	FillError  string `json:"fill_error,omitempty"`
}

// Heads is what is new of the rooms.
type Heads struct {
	// Numbered: the largest numbers that were seen; else how many messages more were sent from here.
	Numbered bool `json:"numbered"`
	crowd.News
}

// Second is what happened in one second.
type Second struct {
	Index     int              `json:"index"`
	Open      int64            `json:"open"`
	Counts    result.Counts    `json:"counts"` // totals at its end
	Latencies result.Latencies `json:"latencies"`
	Client    result.Client    `json:"client"`
}

// Final is what the worker ends with.
type Final struct {
	Counts    result.Counts      `json:"counts"`
	Latencies result.Latencies   `json:"latencies"` // of the counted load
	Faults    []result.Fault     `json:"faults"`
	TLS       []result.Agreement `json:"tls,omitempty"`
	// Second is the second with which the seconds add up to Counts: the next that is told.
	Second int `json:"second"`
}
