// Package api serves the server API: HTTP and JSON, for the backends of those who run the server. docs/api.md says what
// is promised to callers; this is how it is made. The files in the order a request meets them:
//
//	api.go       what all requests have in common: bounds, the key, unknown paths, the document
//	keys.go      who may do what
//	faults.go    errors, all of one shape
//	wire.go      messages of the protocol as bodies and in the document
//	rooms.go     rooms and their members
//	users.go     a user's rooms, bans from the server, disconnecting
//	publish.go   messages, to a room and to many; edits and deletions
//	marks.go     reactions and pins
//	history.go   pages of what was said
//	export.go    the log as JSON lines
//	stats.go     figures
//	trace.go     the frames of one user, without what is said
//
// Each operation is registered once, with its types; huma reads requests into them and makes the OpenAPI document of them, so
// that the document is what the handlers take and give (docs/adr/0018-server-api.md). What is answered is a message of the protocol
// wherever it has one.
//
// # Owners
//
// A request has a goroutine of its own. It touches nothing of loops, shards or keepers: it asks them (package calls,
// members.Keeper.Call) and waits, never longer than Config.Timeout. The package itself keeps the keys, and the samples of
// which rates are made.
//
// # Bounds
//
// Config.Requests are under way at once, one export and a few traces among them; others are refused at once. A body has a bound and is read within
// bodyTime, and only once the key is known. That an answer is taken is for the listener to see to.
package api
