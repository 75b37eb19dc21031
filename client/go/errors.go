package client

import (
	"errors"
	"fmt"
	"time"

	v1 "rookery/proto/rookery/v1"
)

// Errors that a caller may want to tell apart. A publish wraps them in a *PublishError.
var (
	// ErrClosed: the client is closed. It comes as a *ClosedError with the reason.
	ErrClosed = errors.New("the client is closed")
	// ErrQueueFull: too many publishes, or reads, wait for an answer.
	ErrQueueFull = errors.New("the queue is full: wait until some of what was sent is acknowledged")
	// ErrNotConnected: an ephemeral message can't be sent now, or its connection ended before the answer.
	// It is not sent later.
	ErrNotConnected = errors.New("not connected, and ephemeral messages are not kept")
	// ErrTooLarge: the publish would be larger than what the server takes.
	ErrTooLarge = errors.New("the message is larger than the server takes")
	// ErrOutcomeUnknown: the publish was sent and not answered for so long that the
	// server may have forgotten its key, so that sending it again could store it twice.
	ErrOutcomeUnknown = errors.New("sent but not acknowledged for nine minutes: " +
		"look into the room's history before publishing it again")
	// ErrJoined: this client has already joined the room.
	ErrJoined = errors.New("this client has already joined the room")
)

// RequestError is the server's refusal of a request.
type RequestError struct {
	Code       int    // class, in the manner of HTTP
	Name       string // stable: what a program branches on, see docs/protocol.md
	Message    string // a sentence for a human
	Retry      bool   // the same request may succeed later
	RetryAfter time.Duration
}

func (e *RequestError) Error() string { return e.Message + " (" + e.Name + ")" }

func newRequestError(e *v1.Error) *RequestError {
	return &RequestError{
		Code: int(e.Code), Name: e.Name, Message: e.Message, Retry: e.Retry,
		RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
	}
}

// CloseError is how a connection ended: a close code of docs/protocol.md, or 1006 when it
// ended without one.
type CloseError struct {
	Code   uint16
	Reason string
	Err    error // of the socket, with 1006
}

func (e *CloseError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("connection lost: %v", e.Err)
	case e.Reason != "":
		return fmt.Sprintf("connection ended: %s (%d)", e.Reason, e.Code)
	}
	return fmt.Sprintf("connection ended with code %d", e.Code)
}

func (e *CloseError) Unwrap() error { return e.Err }

// StatusError is an HTTP status in place of the WebSocket upgrade.
type StatusError struct {
	Status     int
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	if e.Status == 503 {
		return "the server is full (HTTP status 503)"
	}
	return fmt.Sprintf("no WebSocket at this URL: HTTP status %d", e.Status)
}

// ClosedError is ErrClosed with the reason, which is nil after Close.
type ClosedError struct{ Reason error }

func (e *ClosedError) Error() string {
	if e.Reason == nil {
		return ErrClosed.Error()
	}
	return fmt.Sprintf("%v: %v", ErrClosed, e.Reason)
}

// Is makes errors.Is(err, ErrClosed) true.
func (e *ClosedError) Is(target error) bool { return target == ErrClosed }

func (e *ClosedError) Unwrap() error { return e.Reason }

// PublishError says which publish failed. Publishing again with the same Key can't store
// it twice within the ten minutes that the server keeps keys, so an application can try
// again whatever Err is.
type PublishError struct {
	Room string
	Key  string
	Err  error
}

func (e *PublishError) Error() string { return fmt.Sprintf("publish to room %q: %v", e.Room, e.Err) }

func (e *PublishError) Unwrap() error { return e.Err }

// ResetError stands in a subscription where its history breaks: the server no longer has
// the history that Old belongs to, or has not reached it. Messages after New follow. What
// lies between is not coming; History reads it. The subscription goes on.
type ResetError struct {
	Room     string
	Old, New Position
}

// GapError stands in a subscription in place of the messages First to Last, which the server does
// not have any more. The subscription goes on with Last+1.
type GapError struct {
	Room        string
	First, Last uint64
	Reason      string // "expired": retention took them; "damaged": the server's disk lost them
}

func (e *GapError) Error() string {
	return fmt.Sprintf("messages %d to %d of room %q are not there any more (%s)", e.First, e.Last, e.Room, e.Reason)
}

func (e *ResetError) Error() string {
	return fmt.Sprintf("history of room %q was reset: it goes on after message %d", e.Room, e.New.Seq)
}
