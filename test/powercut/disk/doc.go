// Package disk is a virtual disk that forgets: like a real one it keeps what is written in a cache of
// its own, and only a flush, or a write that asks for it, makes bytes last. It is served to a virtual
// machine over the NBD protocol. A file as the machine's disk would show nothing: all that the machine
// ever wrote stands in the host's page cache and outlives it, flushed or not.
//
//	disk.go       what is written, flushed and read
//	cut.go        what is left when the power fails
//	handshake.go  NBD, from the first byte to the choice of the disk
//	serve.go      NBD, the requests
//
// # What is kept
//
// A write is answered as soon as it is in the cache. A flush makes all writes last that were answered
// before it came. Of the others, a cut keeps what its Policy says, by units of a sector of 512 bytes or a
// block of 4,096: a unit is never torn, a write of more than one can be. A unit that was written more
// than once since the last flush may be left in any of these states, since a disk may have moved an
// older one to its platters. Writes that were flushed are never touched by a cut.
//
// # Not imitated
//
// Sectors that can't be read after a power cut, torn sectors, writes to a wrong place, and disks
// that lie about a flush, except by Disk.Lie, which is there to show that a check can fail.
package disk
