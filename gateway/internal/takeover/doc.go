// Package takeover is how a running server gives its sockets and sessions to another process: what is said between the two, and
// the form in which a connection moves. It holds no state of a server; gateway/takeover.go and its neighbours say what
// is done when, gateway/internal/loop/carry.go and landing.go what a loop gives and takes.
//
// # What is said
//
// The old process listens on the Unix socket takeover.sock in its data directory, to its own user. Messages follow each
// other on the stream:
//
//	byte of the kind, number of descriptors 1 byte, length of the payload 4 bytes little-endian, payload
//
// The descriptors come with the first byte (SCM_RIGHTS).
//
//	new  Hello       JSON: version, the settings that are addresses
//	old  Welcome     JSON: the same, listen with its port; which listeners besides gnet's come with it, as descriptors in that order
//	 or  Refusal     a sentence: why not; then the end
//	new  Prepared    its configuration is read and valid
//	old  Shared      JSON: what is of no single connection
//	old  Connections a batch: of each loop number, length and state; their descriptors in the same order
//	new  Received    for each batch; eight at most have none yet, so that the descriptors on their way stay below the limit of the kernel
//	old  Everything  the log is closed and unlocked, and there are no more batches
//	new  Opened      the log is open, the state is understood. Up to here the old process can go on, and has seen to it
//	                 that the new one is dead when it does: nothing was read from a connection, nothing written to one
//	old  Go          it is the new one's
//	new  Reading     who had sent something is read: what the old one has to do to let its descriptors go holds up nobody any more
//	new  Serving     JSON: how many listeners it has; the old one sees to it that the kernel gives new connections to these
//	old  Late        connections that the old one's listeners have accepted since, of which nothing was read
//	old  the end of the stream: it has left
//
// # State
//
// Version is of the messages and of the state together: processes of two versions do not take over from each other. A connection is
// the fields of Connection in their order, numbers as uvarints (signed ones zigzag), strings and bytes behind their length, lists
// behind their number, flags as bits of one number. State.go is the specification.
//
// # Not promised
//
// The two processes are of one user on one machine, and trust each other.
package takeover
