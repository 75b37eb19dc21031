// Package consult asks the application of whoever runs the server: about a connect, whether the user may, and about a publish, whether
// it may be, or what it is to say instead. It tells of sessions that have ended, too. docs/webhooks.md has the requests and answers.
//
//	line.go      who waits: one line for each user and room, so that order stays
//	keeper.go    the goroutines that ask, and when nobody is asked because there was no answer
//	publish.go   a publish, and what becomes of it
//	connect.go   a connect, and what becomes of it
//	ended.go     what is told of sessions that have ended
//
// # Invariants
//
//   - Ask, Connect and Ended never wait: a loop or a shard calls them. A lock is held for memory work.
//   - What was taken is answered once: with the application's word, with what Config.Allow says if there was none, or, when the
//     keeper is closed, with the error draining.
//   - Of the publishes of one user in one room one is asked about at a time, and they come back in their order.
//   - Who was removed from a room while their message was with the application does not publish it.
//
// # Bounds
//
// What waits takes Config.WaitingBytes; beyond that it is refused with overloaded. A request takes Config.Timeout, from when it is the first of its line.
// After a few failures in a row nobody is asked for a while but one now and then, so that an application that is down costs no waiting.
package consult
