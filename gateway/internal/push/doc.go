// Package push tells users outside of their connections that messages wait for them: a summary for each user and window, handed to
// senders, a signed webhook among them. This text is the specification of its file.
//
// One goroutine, keepLoop, owns everything. It follows the log behind what is committed, so nothing waits for it: no event loop,
// no publish. A message's way through the files:
//
//	keeper.go     what is read of the log waits until it is due, Config.After behind its time
//	decide.go     what is due is compared with how far each member has come
//	gather.go     what a user has not received is gathered until the window lets a summary leave
//	queue.go      summaries wait for their sender, are tried again, and become dead letters
//	lane.go       the goroutines that call senders
//	webhook.go    a sender: signed HTTP requests
//	devices.go    what the senders to devices share, and what an answer means
//	webpush.go    a sender: push services of browsers
//	apns.go       a sender: Apple's push service
//	fcm.go        a sender: Firebase Cloud Messaging
//	store.go      the file
//
// # Rules
//
//   - Messages become due in the order of the log, and what is due is decided once. One that was sent more than a day ago is passed over.
//   - A member is told of a message that they neither wrote nor received (Member.Delivered) nor missed by joining later (Member.From), as
//     their level says: all, those that mention them, or none.
//   - A room of more members than Config.RoomMembers tells only those who are mentioned.
//   - The first summary of a user leaves at once; a next one Config.Window behind it, with all that was gathered meanwhile.
//   - Before a summary leaves, at each attempt, it is compared again: what was received, deleted, muted or left in the meantime goes
//     from it, and an empty one is cancelled. Texts are never stored: they are read when a summary leaves.
//   - There is at most one summary of a user for a sender and device. What is gathered while one waits for another attempt joins it.
//
// # Promised
//
// At least once: the file says up to where the log is decided, in the same transaction as what came of it. After a crash some
// summaries may leave twice, under the same id.
//
// # File
//
// push.db in Config.Dir, a B+ tree of go.etcd.io/bbolt whose commits are synced, about one in each turn that has changed something:
//
//	meta   "state"                     {"version":1,"history":"…","position":…}
//	users  user                        {"last":…,"conversations":[…]}: last is when the last summary left, Unix milliseconds
//	queue  user 0 kind 0 device        a summary that waits
//	dead   number, 8 bytes big endian  a dead letter
//
// The history names the log and its epoch. A file of another history begins at the end of the log and forgets what was gathered and
// queued: sequence numbers of another epoch mean nothing. Dead letters stay.
//
// # Bounds
//
// What waits to be due takes Config.PendingBytes; then the log is read on when it is decided. What is gathered and queued takes
// Config.WaitingBytes together; what is beyond is dropped and counted. A conversation names its newest 100 messages, a summary its newest
// 100 conversations. Dead letters are 10,000; the oldest go.
//
// # Not promised
//
// A user whose client never says what it has received is told of everything. Mentions that an edit adds tell nobody.
package push
