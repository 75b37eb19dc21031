// Package kerneltls gives the records of a connection to the kernel, which then opens and seals them: who reads and writes the socket
// sees and gives plain bytes. It is Linux's module tls, and only the records of TLS 1.3 with AES-GCM; the handshake has been made by somebody
// else.
//
//	kerneltls.go  gives the keys to a socket
//	control.go    records that are no data: what ends a connection
//	probe.go      whether this kernel does it, and does it right
//
// A read of such a socket fails where the next record is none of data, with EIO, and Control tells what it is; where a record is
// forged, with EBADMSG, too long, EMSGSIZE, or none at all, EINVAL. What is half is not seen: it waits in the socket.
//
// The kernel keeps the keys as they are. Linux 6.14 could be given new ones when the peer changes its own; those before can't, and so nobody here
// does it: after the peer's update of keys nothing more can be read.
package kerneltls
