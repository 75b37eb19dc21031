// Package handoff is what crosses owners: a loop tells a room shard something with a
// Command, the keeper of receipts with a Mark, that of members with a MemberRequest; shards and log readers tell a loop something with an Event, and both arrive in
// a Mailbox, in the order they were sent. Nothing here has an owner of its own; what is
// put into a mailbox belongs to the receiver afterwards, but for encoded messages, which
// nobody changes.
package handoff
