// Package backup copies a log while a server writes it, and restores it, to its end or up to a point
// before.
//
// # A backup directory
//
//	MANIFEST                              what belongs to the state: text, replaced in one step
//	00000000000000000000-0-67108864-9f…   file of a segment: base, generation, bytes of content, epoch
//	LOCK                                  locked while a backup is made
//
// There is one state in a directory, the newest. Making the next one adds the files that are not there yet,
// replaces MANIFEST, and only then removes what the new state has no use for: whatever ends it early,
// the state before can be restored. Names that end in .tmp are unfinished.
//
// MANIFEST is a line "rookery backup 1 CHECKSUM", with the CRC32C of what follows as 8 hex digits, and the
// fields of Manifest as JSON.
//
// # Consistent without a stop
//
// The list of segments is one look of a commitlog.View, and a segment of a base and a generation never changes. If
// one is gone before it is linked, retention has replaced it, and the directory is listed again. So
// a backup holds the log as it was at one moment, up to the last whole record: all that was acknowledged
// before it began, and perhaps some that were being written.
//
// # Hard links
//
// A sealed segment costs no space and no time: the backup's file is a second name of the log's own. The log
// never changes a sealed segment's content in place, and a file with a second name is not used again
// for another segment. After a crash the log may append to a segment that was sealed when it was linked, if
// the one behind it had not reached the disk; that is behind the content, whose size is in the name. So a file
// may be longer than its content, and only the content counts.
//
// What a link does not give is a second copy: a rotten block is rotten in both, and whoever
// deletes the disk has neither. A backup to another file system is copied, or shares blocks where the file
// system can.
//
// # Restoring
//
// Restore reads from a Source and copies, since the log will be written to. It checks sizes and checksums
// of the files and of every record, cuts the end off that is not wanted, and gives the log a new epoch: clients
// that come with a position of the old one are told that they have to start anew, since sequence numbers behind
// the cut get other contents. Checkpoints are not in a backup; the one that opening makes is of
// the restored log.
package backup
