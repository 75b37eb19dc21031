// Package interchange turns a log into lines of JSON and back: for looking at what is in it, for
// handing a user what they said, and for moving to another log, whatever engine that has. It has no
// state of its own. This text is the specification of the format; docs/export.md has an example of each line.
//
// # File
//
// UTF-8, one JSON object a line (RFC 8259), each line ended by a line feed. The first line is the
// header, the last one the footer; what is between stands in the order of the log, so the records of
// a room are in order, and those of the system stand where they stood. A file without its footer is the
// beginning of an export. Files may be compressed, and are small then, but a reader gets them
// uncompressed.
//
// Every line has a field kind. The fields of an object may stand in any order, each once. Numbers
// are whole, and written as such: positions and times have 63 bits and a sign, sequence numbers are at
// most 2^53-1. Bytes are base64 with padding (RFC 4648, section 4). Names are text, or bytes in the field whose
// name ends in Base64 if they are not UTF-8; one of the two is there.
//
// # Lines
//
//	header   format "rookery export"; version, 1; log: 16 hexadecimal digits that tell logs apart; epoch, as
//	         clients see it; start: the position that the export began at; at: when, Unix milliseconds; rooms, if
//	         they were chosen: names, or beginnings of names with one * behind; user, if one was chosen
//	message  position in the log; room; seq, from 1; at: Unix milliseconds; from: the user; key: the retry
//	         key, if it has one; and what it says: text, or data (bytes), or body, before which reading may say
//	         what a body is about, for people: a reader passes over it
//	system   the same, of a room that belongs to the system: its name begins with the byte 0x01. It always
//	         has a body
//	begin    room; first, from 2: the room goes on with this number, and what is before it is not given: retention
//	         took it, or it lies before the start of the export. Messages that stand before it in the
//	         file are gone too: retention had let go of them, and they were still on the disk
//	gap      room; first, last: these are missing, since the log was damaged
//	damaged  what; file and offset, if it is a place in a file of the log; room, if it is about one: something could
//	         not be read. Which messages that were, the gaps behind it say, as far as it can be known
//	footer   lines: how many stand before it; damaged: how many of these are damaged lines; end: the
//	         position to start the next export at; checksum: CRC32C (Castagnoli) of all bytes before this
//	         line, 8 hexadecimal digits
//
// A body is what the log holds, bytes that only their writer understands. Where the gateway wrote it and
// it is a text or bytes and nothing else, the line says that instead, and the body is made from it
// again, byte for byte. Every other body is written as it is. So nothing is lost on the way, and what a
// future version writes is in an export as well.
//
// # Limits
//
// A line has at most 8 MiB: a text of 1 MiB that is all escapes is six times as long. Names, keys
// and bodies have the limits of package storage.
//
// # Versions
//
// A reader refuses a version that it does not know, a kind, and a field: what it passes over, it would
// lose. Kinds and fields whose names begin with x- are passed over; they are for others, and rookery writes
// none. A line of such a kind has no other fields.
//
// # Export
//
// Memory is some 80 bytes a room, whatever the size. A live log is read without its lock, up to its end at that
// moment: what a server has written and not yet synced is in it, which a crash right then could still
// take. An export with rooms has no system records; one of a user also has no begin and no gap lines,
// since what one user said has holes everywhere.
//
// Retention may have taken the middle of a room, or run meanwhile: the room then begins again in the
// middle of the file. Behind a damaged place it is written as a gap, since which of both it is can't be told;
// only a room of which nothing is left begins there too.
//
// Resume goes on with a file that was cut short, at any byte. It reads what is there, checks that it is of
// this log, this epoch, and this choice of rooms and user, cuts off what follows the last
// message, compares that message with the log, and goes on behind it.
//
// # Import
//
// Records keep room, number, time, user, key and body. The log keeps its own id and epoch: a
// client that comes with a position of the old one is told so. The header's start does not matter.
//
// A record that the log has already is compared with it and passed over, one that differs ends the import.
// So an import that ended early, even by a crash, is done again with the same file and goes on
// where it ended, and the exports of a log may be imported one after the other. A record must follow the
// one before it in its room. A begin line makes the room begin at its number, and what is before is
// given no more, unless the log already has the room up to there. Before the room's first line in the
// file it is refused if the log's room ends before it: then an export between the two is missing.
//
// A time before 1970 or behind the year 9999 ends an import: the protocol has none such, and what a clock has never said is a file's
// fault, as of seconds or microseconds in the place of milliseconds.
//
// A gap ends an import too, since a room's numbers have none. With renumbering the records behind it take the
// numbers that follow; then numbers that somebody kept, as in the system's records, point too far. A file
// with one user's messages is refused.
//
// What an import appends is committed when it returns, after an error as well. That a file is not as it
// was exported is only known at its footer, when all of it has been imported.
//
// Memory is the log's queue, and some 150 bytes a room.
package interchange
