// Package catalog holds what the server knows about rooms and users beside their messages: settings,
// members, positions, devices, bans. This text is the specification of its records.
//
// The log is the truth. A change is one ordinary record in the system room "\x01catalog", which
// no client can name, and the catalog is what these records add up to: held in memory, in buntdb, and
// in no file of its own. So there is nothing that can disagree with the log, and backup, shipping,
// checksums and recovery of the log are those of the catalog (docs/adr/0006-catalog-without-a-file.md).
//
// # Records
//
// From is "rookery", Key is empty, the body is one JSON object:
//
//	{"version":1,"kind":"change","entries":[{"k":"room\tlobby","v":{…}},{"k":"ban\t\tmallory","v":null}]}
//	{"version":1,"kind":"part","snapshot":71,"part":0,"entries":[…]}
//	{"version":1,"kind":"end","snapshot":71,"parts":1,"count":2,"checksum":"…"}
//
// A change sets each key to its value, or removes it where the value is null; all of it or
// nothing. Another version or kind is refused by name.
//
// An entry of a change may have a note beside key and value, "n", JSON that says what the change means: whoever follows the
// room learns from it what the values do not say. Nothing else reads it.
//
// A snapshot is some parts and an end, and is named by the number that its part 0 had when it was
// written (an import may number records anew). The parts hold all
// entries in the order of the keys. Between them there may be changes, since nobody waits for a
// snapshot: a part says what its range of keys was when it was written, so whoever applies parts
// and changes in the order of the log, from part 0 on and beginning with nothing, has at the end what
// the writer had. The end has the number of parts and entries and a checksum: SHA-256 over
// each entry of the parts, key and value, each behind its length as a varint, in hex. A
// snapshot without its end, or with another part between its own, counts for nothing.
//
// # Keys
//
//	room     room         settings: {"retention":{"age_ms":…,"messages":…,"bytes":…},"created":…,"title":"…",
//	                      "slow_ms":…,"speak":"…","direct":["…","…"]}; all but the first of a room with members
//	member   room  user   {"role":"…","since":…,"from":…,"notify":"…"}; since in Unix milliseconds
//	position room  user   how far the user has come: {"epoch":"…","delivered":…,"read":…}
//	device   user  id     {"name":"…","web_push":{"endpoint":"…","p256dh":"…","auth":"…"},"apns":"…","fcm":"…"}
//	ban      scope user   {"until":…,"reason":"…"}; until in Unix milliseconds, absent is for ever;
//	                      the scope is a room, or empty for the whole server
//	mute     room  user   the same, for who may not publish
//	revocation of name    {"at":…,"until":…} in Unix milliseconds; of is "token" or "user", name the token's id or the user's
//
// The words are separated by a tab: names hold no control characters, and a tab sorts before
// all else they hold. A key that begins with another word of a to z and hyphens is kept as it
// is, and so are fields of a value that this version does not know: they may be a newer version's.
// Values are JSON and never null. For members and positions there is a second key in
// memory, "~member", user, room, so that a user's can be found; it is in no record.
//
// # Owners
//
// The writer goroutine (writer.go) owns the producer of the room and is the only one that changes
// the state. What is asked of it waits in a mailbox bounded in bytes; when that is full, Update fails
// with storage.ErrFull, and nothing was done. All that waits is appended together and then
// committed together; only then is it applied and visible. Readers use buntdb's read
// transactions, a page at a time. They may wait for the writer's short lock and for garbage, so
// event loops never call this package.
//
// # Opening, compaction
//
// A Replay reads the room from where it begins. When the changes since the last snapshot are over
// both 1 MiB and the size of the state, the writer appends the next one. Each part, once committed, is read
// back from the log and compared with the state. When the end is in and synced, the room
// is trimmed to the snapshot's part 0, and only then may retention drop what came before.
//
// Records that can't be read do no harm if a later complete snapshot stands in for them, or if they were
// parts of a snapshot whose end can be read: then the changes before are still
// there. Otherwise Open refuses: half a catalog would forget bans and keep or drop the wrong messages.
//
// # Not promised
//
// A failed update is not visible, but may be there after a crash, as with any record that was not
// acknowledged. After an import that closed a gap by numbering records anew nothing tells that changes are
// missing, unless a snapshot behind them makes up for it. A walk over many entries is no moment in time: each page of it is. The whole state is in
// memory: about 230 bytes an entry with short names.
package catalog
