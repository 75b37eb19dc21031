// Package presence knows who is in a room, and who is typing there, for those who want to know.
//
// The loops have the truth: their tables say which connections live and which rooms they have joined. One keeper, a goroutine that owns
// everything here, observes the rooms that somebody watches, and no others, so that rooms which nobody looks at cost nothing. It orders
// the loops to observe; each answers with the members that it has, and tells after that who comes and goes, in order. What a connection
// does is told by its loop, so there is nobody here whose connection has ended: no table that could disagree with the sockets.
//
//	keeper.go  its goroutine, what comes through its mailbox
//	room.go    an observed room: who is there, who watches, what has changed
//	tell.go    answers, and once an interval the changes
//	typing.go  who is typing
//
// # Invariants
//
//   - A version of a room is told to all who watch it, and the next one follows it.
//   - What a loop tells of a room before it has answered is of an older observation, and counts for nothing. That ends only when all
//     loops have answered it that anybody has connected to.
//   - Somebody whose last connection has gone is there until the grace period has passed: who comes back meanwhile was never away.
//     Who was removed from a room with members is gone at once.
//
// # Bounds
//
// Questions and typing are refused when the mailbox is full; what the loops tell of connections is not, and is bounded by the joins and
// ends of these. 10,000 rooms are observed, and in 100,000 somebody may be typing; an observed room costs about 250 bytes for each user
// in it. A room is observed until nobody has watched it for a grace period.
package presence
