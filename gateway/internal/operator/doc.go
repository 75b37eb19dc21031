// Package operator serves the operator's page on the admin listener: what the server is doing, a look every second, for
// somebody who watches it.
//
//	board.go    who looks, and the looks that they are given
//	look.go     what a look says, made of what was read
//	span.go     rates and quantiles between two readings
//	kernel.go   what the kernel holds for sockets
//	page.go     the addresses below /ops/
//	guard.go    pages of others must neither read nor act
//
// It reads and never acts: what changes something goes through the server API with a key, from the page as from anywhere.
//
// # Owners
//
// A Board has one goroutine, watchLoop, while somebody looks. It reads the counters of all owners each second, has the loops
// asked every surveyEvery looks, and gives every viewer the same bytes. A viewer who does not take a look misses it.
//
// # Bounds
//
// mostViewers at once, and one look that waits for each. keptReadings readings are kept for rates and quantiles. The lists of
// a look are short: those of the loops' survey, and names that are known when the server is built.
package operator
