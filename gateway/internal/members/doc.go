// Package members keeps who is what in rooms with members: owner, moderator, member or guest, banned or muted; and what such
// a room is like.
//
// There is one keeper, a goroutine. Loops send it what their connections ask for through its mailbox, the server's own
// interfaces through Call. It takes all that waits, decides on each in order, makes what is to be changed together one update
// of the store, and when that is durable tells everybody. The files in the order a request meets them:
//
//	keeper.go  the mailbox; a batch: decided, stored, told
//	view.go    the store as it will be when what was decided is stored
//	room.go    joining, creating, settings
//	change.go  what one user may do to another
//	list.go    pages of members and of rooms
//	tell.go    replies, and what loops are told
//
// # Rooms
//
// The kind of a room follows from its name and never changes, so a loop knows it without asking. An open room
// need not be created: who joins becomes a member. A group begins with its owner, and others are invited, which makes them members at
// once. A direct room has two members, who stay so. Its name is made from theirs (DirectName), so both make the same one.
//
// # Rules
//
//   - Who acts on another has a higher role than that one. Nobody gives a role as high as their own, but an owner may give all.
//   - Who is moderator by token acts as one in any room of the token's, and may enter groups; as a member, for all to see.
//   - A ban ends the membership and keeps the user from joining. A mute keeps them from publishing, and outlives leaving.
//   - The server itself may do everything, but put a third into a direct room.
//
// # Invariants
//
//   - What is answered or told is stored. A failed update is as if nobody had asked.
//   - Answers to one connection, and what a loop is told, are in the order of the decisions: after MemberRemoved a loop gets no
//     Admitted that was decided before it.
//   - The truth is the store; here is what waits for it, the bans from the whole server, and counts, which can be had again.
//
// # Bounds
//
// The mailbox is bounded in bytes; beyond it requests are refused. A user is a member of Config.RoomsPerUser rooms, a room has
// Config.MembersPerRoom members. Counts of 10,000 rooms and users are kept. The store holds everything in memory: about 480 bytes a
// member, and 230 for a room, a ban or a mute. Settings of a room are kept when its last member has left: whoever could take the
// name could read what was written under it.
//
// In a room of more than Config.Named members nobody is told who joins and leaves by themselves.
package members
