// Package ship keeps a copy of a log elsewhere while the log is being written: in a directory, which is
// another host's mount, or in a bucket of an S3-compatible store. The copy is a stated number of
// seconds behind at most, as long as the target takes it. This text is the specification of the copy.
//
// # Objects
//
// A target holds objects, each put whole and never changed, under two prefixes:
//
//	chunks/00000000000000000000-0-00000000000000000000-00000000000008388608-1a2b3c4d
//	       base of the segment, its generation, from and to in its file, checksum of the bytes
//	manifests/00000000000000000042-5e6f7a8b
//	       number, checksum of the bytes
//
// A chunk is committed bytes of a segment's file as they are, 8 MiB at most. Checksums are CRC32C in hex.
// Since it is a part of the name, two chunks with different contents never have one name: whoever ships what
// to the same place by mistake, nothing that a manifest names is overwritten.
//
// A manifest is a state of the log:
//
//	{"version":1,"checksum":"…","state":{
//	  "log":"…","epoch":"…","at":"2026-11-28T13:00:00Z","end":67109032,
//	  "segments":[{"base":0,"end":67108870,"generation":0,"bytes":67108870,"chunks":[[8388608,"1a2b3c4d"],…]},…]}}
//
// checksum is of the bytes of state. log and epoch are in hex. at is when the log was looked at, end the position
// behind its last record then. Of a segment, base, end and generation are as in its header and file name (package
// commitlog), bytes is how much of its file counts; a chunk is where it ends and its checksum, and begins
// where the one before ends. Segments follow each other without overlap; between them may be holes, where the
// log itself lacks a file. Of two manifests that can be read the one with the higher number is newer.
// A version that is not 1 is refused by name.
//
// # Promised
//
//  1. What the newest manifest names is at the target: chunks are durable before it is put.
//  2. From a manifest every record up to its end is restored, as it is in the log.
//  3. A newer manifest never ends before an older one.
//  4. While the target takes what it is given, a record is in a manifest Config.Every after its commit
//     at the latest. Stats.Behind tells how far behind it is.
//  5. The log is read only, and never waits. A target that is down, full or slow costs a retry, at most
//     a minute apart, and no memory beyond a chunk and the list of chunks.
//  6. A target with a state that this log does not have is left alone (*RefusedError): another log, or
//     a log that went on after this one was restored from an older copy. A state that is a beginning of
//     this log is gone on from, also with another epoch, as after a restore from it.
//
// In SyncAlways mode only synced bytes are shipped, since only they are committed. In the relaxed modes
// written ones are too: after power loss the copy may hold more than the log, and then the log, with its
// new epoch, is refused. The copy is the one to keep; give the log an empty prefix.
//
// # How many objects
//
// Every look at a log that is being written makes one chunk, which would be 17,000 a day. So the chunks at
// the end of a segment are merged while the last one is less than twice what is new: there are at most
// 18 that are not full, and a byte is put again each time its chunk has doubled. When the segment is
// sealed those become one. A gibibyte of segments of 128 MiB ends as 128 to 136 chunks.
//
// The newest manifests are kept, 4 of them, and the chunks that one of them names; others are removed. Manifests
// take about 4 KB for each gibibyte of the log, and one is put at each look that finds something new.
//
// # Retention
//
// A run of segments that retention has rewritten stays at the target as it was until its replacement is there:
// what is new goes first. One manifest has either the old files of a range or the new one.
//
// # Not promised
//
// That two servers that ship two continuations of one log to one place both notice at once: each looks
// whether the newest manifest is still its own before it puts one, and does not put it then. Protection from
// somebody who can write to the target: the checksums find accidents. A target is assumed to show what
// it has taken from then on, as S3 and POSIX do.
package ship
