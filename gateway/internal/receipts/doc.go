// Package receipts keeps how far users have come in rooms: what has arrived at one of their devices, and what
// they have read.
//
// There is one keeper, a goroutine that owns everything here. Loops send it the marks of their connections through its
// mailbox. It gathers them, so that somebody who scrolls through a hundred messages is one change, and at the end of an interval
//
//	keeper.go  takes the marks that have waited, and stores those that move somebody forward
//	tell.go    tells who asked for it, and the members of the rooms
//	census.go  of a large room, how many users have each of the newest messages
//
// # Invariants
//
//   - Nobody moves back: a mark counts as far as it is beyond what is stored.
//   - Nobody is beyond a room's head, so only rooms that have messages have marks.
//   - What is told or answered is stored.
//   - The standings themselves are in the store and nowhere else; here is what waits for it, and censuses of some rooms.
//
// # Bounds
//
// The mailbox is bounded in bytes, and at most 1,000,000 users of rooms wait for the store; beyond both marks are refused. The
// censuses of 10,000 rooms are kept. Members are told as with ephemeral messages: who is behind is given the newest of each user. A loop
// with too much waiting is not told at all, which is counted; its clients learn it from the next mark, or when they ask.
// The standings in the store have no bound but users times rooms.
package receipts
