// Package tlslisten is the listener for TLS: it accepts, makes the handshakes, and hands connections on. The event loops wait for
// nobody and a handshake is a millisecond of arithmetic with waiting in between, so it is made here, on a goroutine each, in
// the order:
//
//	listener.go      accepts, as many at a time as may, and as many of one address
//	handshake.go     one handshake: its turns, its time limit, what becomes of one that fails
//	certificates.go  certificates by name, read again when their files change
//
// # Bounds
//
// MaxHandshakes connections are between accept and their loop, maxOfAddress of one address (IPv6: of a /64) but for proxies; who comes beyond is closed at once and
// counted, which costs next to nothing, unless somebody who has said nothing yet can make room. Of those only half as many as there are processors compute at a time, the others wait for
// their turn or for their peer, so that a storm of handshakes leaves the loops their processors. All together have Config.Timeout.
package tlslisten
