// Package framing turns the bytes of a connection into frames and back. It is
// pure: no socket, no clock, no goroutine. The event loop shows it what the
// socket gave, takes what comes out and drops the n bytes that were consumed.
//
// # What a connection speaks
//
// The first bytes decide (Sniff):
//
//	"GET ", "POST ", … a method of HTTP/1.1 and a space   HTTP, WebSocket among it
//	"ROOKERY\x01"                                         raw TCP, version 1
//	"ROOKERY" and another byte                            raw TCP, a version we don't speak
//	anything else                                         unknown: closed at once
//
// In front of that, where a proxy was told to send it, stands a header of the PROXY protocol
// (ReadProxyHeader). Nobody else's is looked for: Sniff knows nothing of it.
//
// # Raw TCP
//
// After the preface, in both directions, frames follow each other as package proto says.
// DecodeTCP cuts them off a stream that is still coming.
//
// # WebSocket
//
// Decoder is the receiving side of RFC 6455 for a server without extensions:
// masked frames in, whole messages out.
//
//   - A data frame that is not fragmented and has arrived as a whole is
//     unmasked where it lies and handed out as a view: no copy, no allocation.
//   - Anything else is taken as it comes, unmasked and checked up to the last
//     byte that is there, into a pooled buffer that grows with what has arrived,
//     never with what was announced. So half a message costs its own size,
//     rounded up to a power of two, and the bytes need not wait in the socket's
//     buffer.
//   - A fault is reported at the first byte that proves it, wherever the input
//     was cut, as a ProtocolError with the close code to answer with.
//   - A connection with nothing half-read holds one nil pointer.
//
// # Not promised
//
// No permessage-deflate and no client side. The payload of a Close frame is
// not checked by the Decoder but by ParseClose, and what comes after a Close
// frame is for the caller to ignore. Time limits are the caller's, by
// Decoder.Pending. HTTPHead finds the end of a request's head and refuses what
// could be read in two ways; the fields are the HTTP parser's to check.
package framing
