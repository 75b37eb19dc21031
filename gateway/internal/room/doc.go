// Package room holds the rooms: it orders what is published, hands it to the log, and
// fans out what the log has committed.
//
// A room belongs to one shard, chosen by a hash of its name. A shard is one goroutine that
// owns its rooms; everything reaches it through its mailbox, commands of the loops and the
// log's completions alike, so nothing here is locked. The steps of a publish are the files:
//
//	publish.go    a sequence number, the retry key, the log's queue
//	commit.go     the log has committed: visible, delivered to loops, acknowledged
//	latency.go    how long that took
//	ephemeral.go  what passes by the log
//	members.go    which loops have members of the room
//	keys.go       retry keys: what was published before is not published twice
//	reader.go     pages of a room for who is behind
//	history.go    pages of a room for who asks for history
//	sync.go       where a user stands in all rooms, and what was said there since
//	fold.go       what is read has the changes in it that were made since
//	ask.go        an application is asked first, where the loop says so
//	check.go      changes to earlier messages wait for each other here, before they are ordered
//	allowed.go    and may they be made
//
// # Invariants
//
//   - A sequence number is given out only after the log's queue took the message, so a
//     refused publish leaves no gap.
//   - An ephemeral message touches no sequence number, head, retry key or flight.
//   - A message that is not ephemeral is delivered and acknowledged only after the log has committed it.
//   - For each loop, Joined(head) is put into its mailbox before the delivery of head+1 and
//     after the delivery of head. The seam between catch-up and live rests on this.
//   - A publish whose retry key is known, or that repeats one which the application is being asked about, is not asked about.
//   - A room without members and without a publish in flight is forgotten; the log knows
//     its head.
package room
