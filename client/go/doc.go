// Package client is the Go client of Rookery: it joins rooms, publishes, reads history,
// and comes back by itself after a lost connection without losing, repeating or
// reordering a message.
//
// It is a port of the state machine in docs/client.md, over WebSocket (ws://, wss://) or
// raw TCP (tcp://), in the binary codec. What that page leaves to the language is here.
//
// # Order of a run
//
// New starts the machine, which connects at once. Join and Publish may be called in any
// state: they wait for a connection. Close ends everything and waits for it. A client that
// the server refused for good (a wrong token, for instance) closes by itself; Done and
// Err tell, and every call that waits returns a *ClosedError.
//
//	config.go        what can be set
//	client.go        the calls, which are events to the machine
//	machine.go       states and transitions: one goroutine owns all of it
//	attempt.go       token, dial, connect
//	connection.go    one socket: a goroutine that reads, one that writes
//	websocket.go     and stream.go: the two framings of that socket
//	heartbeat.go     is the connection alive
//	rooms.go         position, holes, refusals
//	subscription.go  the queue between the machine and the application
//	outbox.go        publishes until they are answered
//	ephemeral.go     publishes that are worth nothing a moment later
//	reads.go         history and receipts until they are answered
//	changes.go       editing, deleting, reacting, pinning
//	shown.go         messages with the changes in them
//	members.go       rooms with members: who is what in them
//	sync.go          all rooms of the user, as whoever comes back finds them
//	receipts.go      how far users have come in a room
//	presence.go      who is in a room, and who is typing there
//	updates.go       receipts and presence on their way to the application
//	notices.go       changes of state on their way to OnState
//
// # A slow application
//
// A subscription holds at most JoinOptions.Buffer messages, or 1 MiB, that the application
// has not taken. When one more comes, the client leaves that room, and joins it again from
// the last message that it holds as soon as the application has taken them all. The server
// reads what was missed from its log: nothing is lost, memory is bounded, and the other
// rooms and the replies go on.
//
// To stop reading the socket would be simpler and is what TCP offers. It was refused: the
// reply to a publish would then wait behind the messages, so that a loop which answers
// messages would wait for itself for ever once its buffer is full, and one subscription
// that nobody reads would stop them all. The price is that what was on its way when the
// room is left travels twice: reading 50,000 old messages of 200 bytes over loopback took 1.2
// times their bytes with the default buffer, but 10 times with a buffer of 64.
//
// Ephemeral messages do not count there. Of those at most 256 of a room wait; then a newer one
// takes the place of an older one of the same sender and key, or else of the oldest.
//
// # Not promised
//
// See the end of docs/client.md. Besides: messages of one subscription are in order, those
// of different rooms have none among them.
package client
