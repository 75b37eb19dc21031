// Package process tests the real program: the binary is built, started as a process of its
// own, and spoken to over sockets by clients that share no code with the server but the
// frame codec. What is killed here is killed with SIGKILL, what runs out of descriptors runs
// out of them in the kernel.
//
//	main_test.go           builds the binary, with and without the race detector
//	server_test.go         starts, watches and ends a server
//	peer_test.go           a client that does nothing by itself: raw TCP and WebSocket
//	observe_test.go        what /proc and /metrics say about a server
//	crash_test.go          kill -9 at random moments, nothing acknowledged is lost; package ledger judges
//	crash_clients_test.go  the writers and readers that live through it
//	limits_test.go         more clients than descriptors
//	slow_test.go           a reader that does not read
//	drain_test.go          SIGTERM
//	takeover_test.go       processes that take over from each other
//	heartbeat_test.go      silent and slow peers
//	admin_test.go          metrics and profiles
//	proxies_test.go        the real nginx and HAProxy in front
//	proxies_run_test.go    their configurations, certificate and processes
//
// The server that most tests run has the race detector in it. A server that reports a race
// or a broken invariant fails the test that started it, whatever else that test looks at.
//
// ROOKERY_BINARY is a server that is built already, for a machine without Go. ROOKERY_CRASH_ROUNDS is how often the crash test kills, 15 by itself; ROOKERY_CRASH_SEED
// repeats the decisions of a run, whose seed is in its output.
package process
