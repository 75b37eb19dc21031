// Package commitlog is the append-only log of all rooms in one directory: one writer, group
// commit, durable before visible. It keeps the promises of package storage. This text is the
// specification of the files.
//
// # Owners
//
// The committer goroutine owns the active segment, the batch and the written state of
// every room (committer.go tells the way of a batch). Producers put records into a queue bounded
// in bytes. Readers use no lock over I/O: they take the segment list from an atomic
// snapshot, a room's head from an atomic, and read committed bytes, which never change.
//
// # Directory
//
//	LOCK                        locked while a process has the log open (flock; content: none)
//	META                        48 bytes, replaced through META.tmp, rename, sync of the directory
//	00000000000000000000.log    segment; the name is the position of its first byte, 20 digits
//	00000000000067108870.log    the next one begins where the one before ends
//
// A position is a place in the log as a whole: all segments one after the other, headers
// included. Position 0 is the first segment's header, so in a pointer 0 means "none".
// Numbers are little endian. A checksum is CRC32C (Castagnoli). Other files are ignored.
//
// META:
//
//	 0  8  "RKRYMETA"
//	 8  4  format version, 1
//	12  4  checksum of all other bytes
//	16  8  log id: random, made with the directory, in no answer to anybody
//	24  8  epoch: random; clients see it as hex
//	32  8  synced: all before this position was synced when META was written
//	40  1  state: 1 closed cleanly, 2 open with SyncAlways, 3 open in another mode
//	41  7  zero
//
// Segment: a header of 32 bytes, then records without padding up to the end of the file.
//
//	 0  8  "RKRYSEGM"
//	 8  4  format version, 1
//	12  4  checksum of the other 28 bytes
//	16  8  log id, as in META
//	24  8  position, as in the name
//
// Record: a header of 52 bytes, then the payload.
//
//	 0  4  checksum of bytes 4 to 52, continued from the seal (below)
//	 4  4  size of the record, header included: 52 to 1,049,012
//	 8  4  checksum of the payload, bytes 52 to size
//	12  1  kind: 1 message
//	13  1  bytes of the room's name, 1 to 128
//	14  1  bytes of the user's name, 1 to 128
//	15  1  bytes of the key, 0 to 128
//	16  4  unsynced: how many bytes before this record were not known to be synced when it
//	       was written; position minus unsynced was synced
//	20  8  seq, from 1
//	28  8  at: Unix milliseconds, signed
//	36  8  previous: position of record seq-1 of the room; 0 for seq 1
//	44  8  skip: position of record skip(seq) of the room; 0 if that is 0
//	52     room, user, key, body (up to 1 MiB)
//
// The seal is CRC32C(log id as 8 bytes) xor the upper half of position·0x9e3779b97f4a7c15 mod
// 2^64, taken as the running value of the checksum. It ties a record to its log and its
// place: the image of a record inside somebody's message body, or a block that the device wrote
// elsewhere, does not verify. The header has a checksum of its own so that following pointers
// past large bodies costs 52 bytes each. testdata/format.txt has vectors.
//
// # Finding a record
//
// There is no index file. Memory per room is its head and a few positions, whatever its history.
// Each record points to the one before it in its room and to a farther one: write seq as a sum
// of numbers 1, 3, 7, 15 … (2^k-1), the largest possible first; skip(seq) is seq without the last
// term (a skew-binary number: 6 = 3+3 skips to 3, 7 to 0, 12 = 7+3+1+1 to 11). From the head
// any record is reached in about 3·log2(head) reads of 52 bytes: 43 at most were seen among
// 200,000 records. For the pointers of the next record the writer keeps the chain of skips of
// the head, at most log2(head)+1 positions. A room of 100 records with a name of 13 bytes takes
// 163 bytes of heap, measured, all included.
//
// # Versions
//
// The first 16 bytes of META and of a segment header keep their meaning in every version. A
// version that is not 1 is refused by name, nothing is changed. New kinds of records
// may come within a version: kinds from 0x80 on are skipped by readers that don't know
// them (size and checksums hold, all else is theirs), others are refused.
//
// # Opening, and what a crash leaves
//
// All segments are read in order and every record is verified: checksums, sequence numbers,
// pointers. Then:
//
//   - Bytes at the end of the newest segment that are not a whole record (cut short,
//     zeros, a hole with whole records of the same batch behind it) are a torn batch and are cut
//     off, with a log line. Nobody was told of them: the report comes after the sync.
//   - It is damage instead, *storage.CorruptionError, and nothing is changed, if the bytes lie
//     before META's synced position, if any later record says by its unsynced field that
//     they were synced, or if META says that the log was closed cleanly.
//   - In any other segment everything is damage: a segment is synced before the next is made.
//   - A newest segment of 32 bytes or less without a valid header is a creation cut short: it
//     is removed. Name and header are synced before the first record goes in.
//   - A gap between the segments, a first one that is not at 0, an end before META's synced
//     position, META missing beside segments: damage.
//   - After a crash the last batch is written again in place and synced before it is visible:
//     if the process ended because of a failed sync, its pages may be in the kernel's
//     memory, marked clean, and not on the disk.
//   - After a crash in state 3 the epoch is made anew, even if nothing seems lost (also after
//     kill -9, where nothing is): what was visible may be gone, and then the same sequence
//     numbers get other contents.
//
// Then META is written with the state open, and only then the first append is taken. Close syncs
// and writes META with the state closed and the end.
//
// # Errors
//
// A failed write, sync or creation of a segment stops the appends for good: the batch, all
// that waits and all that comes get the same *storage.FaultError. The sync is not tried again
// and bytes of the batch are not removed; opening again takes them or cuts them off, and
// either is right, since no record of them was acknowledged. Reading goes on. An error of a read
// goes to its caller only.
//
// # Limits
//
//   - Opening reads the whole log: 1.1 GB/s from the page cache, 6.5 million records of 180
//     bytes a second on one core of a 2-core virtual machine; from a disk at the disk's rate.
//     At 50 million such messages that is 8 s. Checkpoints of the room index will end it.
//   - Open files: the active segment and Config.OpenSegments of the others; one more for a moment
//     if all are being read when a segment ends. Besides, META.tmp and the directory while they
//     are written.
//   - A segment is over its size by at most one batch, a batch is at most Config.QueueBytes.
//   - No retention: nothing is ever removed yet.
//   - Log.Recent reads from the newest segment backwards, whole segments.
//
// # Assumptions
//
// A sync that succeeded is durable. A file system shows in the part of a file that was never
// written zeros, not bytes of an earlier file or an earlier life of this one. A rename is one
// step. A write that overlaps bytes with the same bytes can't damage them.
//
// # Not promised
//
// Damage in the last batch before a crash is taken for a torn write, since it looks the same: a
// rotten block there costs acknowledged records, and the only sign is the log line. A segment
// that was made since the log was opened and is removed by hand before a crash is not
// missed if it was the newest. The checksums find accidents; they are no
// protection from somebody who can write to the directory.
package commitlog
