// Package notice tells the application of whoever runs the server what has happened to members of rooms: at least once, and in
// order for each room. This text is the specification of its file.
//
// One goroutine, keepLoop, owns everything. It follows the records of the catalog, whose changes note what they mean, behind what is
// committed: nothing waits for it. Each notice goes into a line of its room and into the file. Only the first of a line is sent. What is not
// taken is tried again, from 5 s on twice as long each time up to an hour, for a day; then it is a dead letter, as is at
// once what the application says it will never take, and the line goes on.
//
//	keeper.go    what is read, and the turns of the loop
//	line.go      lines, what is sent and what comes of it
//	store.go     the file
//	dead.go      dead letters
//
// # Promised
//
// At least once: the file says up to where the records were taken, in the same transaction as what came of them. After a crash some notices may be
// sent twice, under the same id, and then those behind them of the room again too.
//
// # File
//
// notices.db in Config.Dir, a B+ tree of go.etcd.io/bbolt whose commits are synced, one in each turn that has changed something:
//
//	meta   "state"                     {"version":1,"history":"…","position":…}: the record that was taken last
//	queue  number, 8 bytes big endian  a notice that waits; the number is that of its record times 4,096, and its place in it
//	dead   number, 8 bytes big endian  a dead letter
//
// The history names the log and its epoch. A file of another history begins at the end of the records and forgets what waits. Dead letters stay.
//
// # Bounds
//
// 20,000 notices wait; then records are taken later. Those that a snapshot of the catalog has replaced by then are lost, which is logged.
// Dead letters are 10,000; the oldest go.
package notice
