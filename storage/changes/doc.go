// Package changes is the index of what was said later about earlier messages: edits, deletions, reactions, pins, replies in
// threads and mentions, by the message that they are about. The log is the truth and this is derived from it:
// a file that may be missing, old or damaged at any time, and is then made again from the log. This text is its specification.
//
// # Files
//
// A directory of its own beside the log's files:
//
//	changes.db    a B+ tree of go.etcd.io/bbolt
//	changes.mark  one line: "clean SIZE CHECKSUM" after Close, "in use BOOT" while a process has it open
//
// The mark is what makes the tree believed. After a clean end its checksum (CRC32C of the whole file) is compared. After a
// process that ended without Close the tree holds what it had committed, as long as the kernel lives: then BOOT is
// still that of /proc/sys/kernel/random/boot_id. Commits are not synced, so behind a crash of the machine the tree is
// made again. So it costs the log no sync of its disk.
//
// # Buckets
//
// A room is named by the first half of SHA-256 of its name, users in mentions too; numbers are big endian, so that keys sort as
// they count.
//
//	meta      "state"                             version, log id, epoch, position up to which the log is in it
//	rooms     room                                beginning that was swept, name
//	states    room seq                            State of the message seq, behind its checksum
//	reacted   room seq reaction 0 user            sequence number of the reaction
//	threads   room root seq                       a message of the thread
//	pins      room seq                            sequence number of the pin
//	mentions  room user seq                       the message seq mentions the user, or did before an edit
//	mentioned room seq user                       the same the other way round, for the sweep
//	made      room seq                            how many changes the room has up to this one, itself among them
//
// # Rules
//
// Records count in the order of the log. A change to a message that is deleted counts for nothing. A reaction that is there
// already, or not there to be taken back, changes no count. What clients do with the changes that they see is the same
// (docs/changes.md).
//
// # Owners
//
// followLoop (follow.go) reads the log behind what is committed, and is the only one that writes. Readers use the tree's
// read transactions, each a moment of it; Wait says that a moment contains all that was committed before. Nothing
// of it is held in memory but the pages that the kernel has mapped.
//
// # Retention
//
// What the log has let go of is of no use here. Each commit looks at two rooms and removes what lies before their beginnings, so an
// index in which nothing is written keeps it until something is.
//
// # Not promised
//
// A deletion whose record the log has lost to damage is lost when the index is made again. Damage to the file while the
// machine runs is found where a page or a value shows it, and not everywhere.
package changes
