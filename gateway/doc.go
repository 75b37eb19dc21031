// Package gateway is the wiring of the server: its configuration, who may connect, the parts
// put together in the order a message flows, and what an operator looks at.
//
//	config*.go      settings from file, environment and flags
//	auth*.go        tokens to identities
//	server.go       start, run, drain: log, rooms, loops, admin listener
//	descriptors.go  how many connections the process can hold
//	admin.go        health, readiness, metrics, profiles
//	api.go          what the server API may ask
//	operator.go     what the operator's page is told
//	metrics.go      the counters of all owners, as Prometheus reads them
//
// The owners themselves are in internal: handoff says how they talk to each other.
package gateway
