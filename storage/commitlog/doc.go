// Package commitlog is the append-only log of all rooms in one directory: one writer, group
// commit, durable before visible. It keeps the promises of package storage. This text is the
// specification of the files.
//
// # Owners
//
// The committer goroutine owns the active segment, the batch and the written state of
// every room (committer.go tells the way of a batch, heal.go what happens after an error). Producers put records into a queue bounded
// in bytes. Readers use no lock over I/O: they take the segment list from an atomic
// snapshot, a room's head from a table, and read committed bytes, which never change.
//
// # Directory
//
//	LOCK                        locked while a process has the log open (flock; content: none)
//	META                        48 bytes, replaced through META.tmp, rename, sync of the directory; written over by an
//	                            opening or a closing that finds no room for that
//	00000000000000000000.log    segment; the name is the position of its first byte, 20 digits
//	00000000000067108870.log    the next one begins where the range of the one before ends
//	ROOMS-00000000000067109000  checkpoint of the room table; the two newest are kept
//	RESTORING                   stands while a log is restored into the directory: Open refuses it
//	SPARE-1                     the next segment's file, being written with zeros ahead of its use
//	CLOCK                       while retention doubts the wall clock: by how many milliseconds it is ahead, in decimal (clock.go)
//	RESERVE                     as long as a segment: room for retention where the disk is full (reserve.go)
//
// A position is a place in the log as a whole: all segments one after the other, headers
// included. Position 0 is the first segment's header, so in a pointer 0 means "none". A position never
// gets another content, and none is over 2^62. Numbers are little endian. A checksum is CRC32C (Castagnoli). Names that end
// in .tmp are unfinished and removed when the log is opened. Other files are ignored.
//
// META:
//
//	 0  8  "RKRYMETA"
//	 8  4  format version, 2
//	12  4  checksum of all other bytes
//	16  8  log id: random, made with the directory, in no answer to anybody
//	24  8  epoch: random; clients see it as hex
//	32  8  synced: all before this position was synced when META was written
//	40  1  state: 1 closed cleanly, 2 open with SyncAlways, 3 open in another mode
//	41  7  zero
//
// Segment: a header of 64 bytes, then records without padding. The content ends where the next
// segment begins, the newest one's where no record follows; the file may be longer.
//
//	 0  8  "RKRYSEGM"
//	 8  4  format version, 2
//	12  4  checksum of the other 60 bytes
//	16  8  log id, as in META
//	24  8  base: the position of the first byte, as in the name
//	32  8  end of the range, of a segment that was rewritten; 0: its records lie as they were written
//	40  8  base of the segment before it when it was made: so a missing file is noticed
//	48  4  generation: how often the range was rewritten
//	52  8  needs: of a rewritten one, where the checkpoint begins that knows what was dropped
//	60  4  zero
//
// Record: a header of 60 bytes, then the payload.
//
//	 0  4  checksum of bytes 4 to 60, continued from the seal (below)
//	 4  4  size of the record, header included: 60 to 1,049,020
//	 8  4  checksum of the payload, bytes 60 to size
//	12  1  kind: 1 message, 2 stub
//	13  1  bytes of the room's name, 1 to 128
//	14  1  bytes of the user's name, 1 to 128; 0 in a stub
//	15  1  bytes of the key, 0 to 128
//	16  4  unsynced: how many bytes before this record were not known to be synced when it
//	       was written; position minus unsynced was synced
//	20  8  seq, from 1 to 2^53-1
//	28  8  at: Unix milliseconds, signed
//	36  8  previous: position of record seq-1 of the room; 0 for seq 1 and in a stub
//	44  8  skip: position of record skip(seq) of the room; 0 if that is 0 or not known
//	52  8  total: bytes of the room's records up to this one, headers included
//	60     room, user, key, body (up to 1 MiB)
//
// A stub stands for the newest record of a room whose content is gone: a room, a number and a time,
// so that the room's numbers go on.
//
// A segment whose end is not 0 was rewritten by retention and is called packed. It covers the range of one segment or
// of several neighbours, with the records that are still given, each at its position and with the
// bytes it had. Behind its header stand extents, an index, and the end; the file is no longer than
// that.
//
//	extent: records that stand one behind the other in the log
//	 0  4  checksum of bytes 4 to 16, continued from CRC32C(log id)
//	 4  4  bytes of the records
//	 8  8  position of the first one
//	16     records
//	index block: 4096 bytes for up to 255 extents, in order
//	 0  4  checksum of the others, continued from CRC32C(log id)
//	 4  4  number of extents
//	 8     for each: position 8, offset of its header in the file 4, bytes of its records 4
//	end
//	       for each block: position of its first extent, 8
//	 0  8  "RKRYPACK"
//	 8  4  checksum of all of the end before the header, this as zero, continued from CRC32C(log id)
//	12  4  number of blocks
//	16  8  offset of the first block
//	24  8  number of records, stubs among them
//	32  8  time of the oldest record
//	40  8  time of the newest one
//	48 16  zero
//	64 64  the segment's header again
//
// The seal is CRC32C(log id as 8 bytes) xor the upper half of position·0x9e3779b97f4a7c15 mod
// 2^64, taken as the running value of the checksum. It ties a record to its log and its
// place: the image of a record inside somebody's message body, a block that the device wrote
// elsewhere, or what a file held in an earlier life does not verify. The header has a checksum of its
// own so that following pointers past large bodies costs 60 bytes each. testdata/format.txt has vectors.
//
// Checkpoint: a header of 64 bytes, the rooms, the segments, a trailer. No part counts unless the
// checksum at the end is right.
//
//	 0  8  "RKRYROOM"
//	 8  4  format version, 2
//	16  8  log id
//	24  8  from: records from this position on may not be in it; also the name
//	32  8  number of rooms
//	40  8  number of segments
//	   48  for each room: key 16 (half of SHA-256 of log id and name), head, position of the head,
//	       first record that is still given, its position or 0; 8 bytes each
//	   32  for each segment: base, time of its oldest and newest record, bytes known to be dead
//	    8  end: no room in it stands beyond this position
//	    4  checksum of everything before it
//
// # Finding a record
//
// In memory there is a table of 48 bytes a room and about 5 of index, whatever its history; names are
// only in the records. Each record points to the one before it in its room and to a farther one: write seq as a sum
// of numbers 1, 3, 7, 15 … (2^k-1), the largest possible first; skip(seq) is seq without the last
// term (a skew-binary number: 6 = 3+3 skips to 3, 7 to 0, 12 = 7+3+1+1 to 11). From the head
// any record is reached in about 3·log2(head) reads of 60 bytes: 43 at most were seen among
// 200,000 records. For the pointers of the next record the writer keeps the chain of skips of
// the head for rooms that were written lately; for others it is read as far as it is needed.
//
// # Retention
//
// A room begins at its first record that is still given (Begin); what is before it is not read any more
// and its bytes are dead. retention.go moves the beginnings and tells the order that makes it safe, pack.go
// rewrites a run of sealed segments of which half is dead. What was dropped is in nobody's table: a checkpoint that
// begins before a packed segment's needs is not believed. What is too old is said by a clock that doubts jumps (clock.go). The first segment's base is always 0, since
// the stubs stay.
//
// # Versions
//
// The first 16 bytes of META and of a segment header keep their meaning in every version. A
// version that is not 2 is refused by name, nothing is changed. New kinds of records
// may come within a version: kinds from 0x80 on are skipped by readers that don't know
// them (size and checksums hold, all else is theirs), others are refused.
//
// # Opening, and what a crash leaves
//
// The table comes from the newest checkpoint; the records behind it are read and verified. After a
// clean end there are none. A checkpoint that is damaged, or that says more than the log holds, is
// passed over for the one before it (the latter is removed, since the log will grow past it with other
// records), and without any the whole log is read.
//
//   - Bytes at the end of the newest segment that are not a whole record (cut short,
//     zeros, a hole with whole records of the same batch behind it) are a torn batch and are cut
//     off, with a log line. Nobody was told of them: the report comes after the sync. Zeros alone
//     stay, they are room made ready.
//   - It is damage instead if the bytes lie before META's synced position, or if any later record says
//     by its unsynced field that they were synced.
//   - In any other segment everything is damage: a segment is synced before the next is made.
//   - A newest segment of 64 bytes or less without a valid header is a creation cut short: it
//     is removed. Name and header are synced before the first record goes in.
//   - After a crash the last batch is written again in place and synced before it is visible:
//     if the process ended because of a failed sync, its pages may be in the kernel's
//     memory, marked clean, and not on the disk.
//   - After a crash in state 3 the epoch is made anew, even if nothing seems lost (also after
//     kill -9, where nothing is): what was visible may be gone, and then the same sequence
//     numbers get other contents.
//
// Then META is written with the state open, and only then the first append is taken. Close syncs,
// writes a checkpoint, and META with the state closed and the end.
//
// # Damage
//
// Damage is logged with file and offset, counted (Stats.Damage), and gone around; nothing is repaired or
// removed. A search for the next whole record goes on behind it. Readers get a *storage.DamagedError
// that names the records, and go on. A damaged header also hides where the record before it in its room
// stands: that one is searched for in the segments, from there backwards, once.
//
//   - If damage, or a missing segment, may hide the newest record of a room that no checkpoint
//     knows, the epoch is made anew: the same number will be given out again.
//   - META damaged or missing beside segments: the log id is taken from a segment; a new epoch.
//   - A missing segment: its range is told as damaged.
//   - A packed segment's index, or the header of an extent: each can be made up for by the other. Its
//     header stands in it twice.
//   - A segment with damage is not rewritten: it keeps its bytes, dead ones among them, for as long as it is there.
//   - Refused, and nothing is changed (*storage.CorruptionError): an end before META's synced
//     position, which is the newest segment missing or cut, or of a closed log behind it; a packed segment whose
//     range has the newest one in it; a segment renamed, or of another log; META gone and no segment that says which log it was.
//   - A number that could not be there counts as damage although its checksum is right: no file, whoever
//     made it, ends the process or has it allocate by what it claims.
//
// # Errors
//
// A failed write, sync or creation of a segment stops the appends: the batch, all that waits and all
// that comes get the same *storage.FaultError. Reading goes on. Every Config.HealEvery the log tries to
// go on in a new segment behind the committed end, where a MiB of zeros is written and synced first. The
// failed sync itself is not tried again, and bytes of the failed batch are never read: they
// lie behind the end of their segment. Rooms then go on from their heads. An error of a read
// goes to its caller only.
//
// # Limits
//
//   - Opening after a crash reads up to Config.CheckpointBytes, a segment, and what was written while a
//     checkpoint was made: 1.1 GB/s from the page cache on one core of a 2-core virtual machine.
//   - Open files: the active segment and Config.OpenSegments of the others; one more for a moment
//     if all are being read when a segment ends, and one while a segment is replaced by its rewriting. Besides, the
//     spare, META.tmp, a checkpoint, a segment being rewritten, and the directory while they are written.
//   - A rewriting needs room for what it keeps, up to Config.SegmentBytes, before it gives back what the
//     old files had, and has it in the reserve when there is no other; and 24 bytes of memory for each run of records it keeps.
//   - A look for what is to go reads a record of each room that was written since the last one, or that has
//     records as old as the shortest age of any room, and the headers of what goes, twice where it goes for its age.
//   - A segment is over its size by at most one batch, a batch is at most Config.QueueBytes.
//   - A room once written keeps its 53 bytes for ever.
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
