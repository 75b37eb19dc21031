// Package proto is the wire format of Rookery, version 1: the frames of
// rookery/v1/rookery.proto, their two codecs, the stream they travel in, the codes that
// say what went wrong and the limits every part keeps.
//
// # Frames
//
// A client sends ClientFrame, the server ServerFrame. The schema is the reference for
// their fields; docs/protocol.md for who sends what when.
//
// # Binary codec
//
// Protocol Buffers. On a byte stream, and inside one binary WebSocket message, each frame
// is preceded by its length:
//
//	+----------------+----------------------+----------------+------ …
//	| length uvarint | frame, length bytes  | length uvarint | frame …
//	+----------------+----------------------+----------------+------ …
//
// The length is an unsigned LEB128 integer of at most 4 bytes, in its shortest form. A
// WebSocket message holds whole frames, one or many.
//
// # JSON codec
//
// A text WebSocket message holds the same frames as JSON objects, one a line, in the
// field names of the schema in lowerCamelCase. Numbers are plain JSON numbers (every
// integer of the protocol is under 2^53), bytes are standard base64. A reader takes what
// the canonical JSON mapping of Protocol Buffers allows, so a number may also come as a
// string.
//
// # Unknown things
//
// A field that a reader does not know is skipped. A request whose operation the server
// does not know is answered with the error unknown_operation. Bytes that are no frame at
// all end the connection with the close code bad_frame.
package proto
