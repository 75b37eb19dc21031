// Package js holds the JavaScript client: ES modules without dependencies and without a
// build step, for browsers and Node. rookery.js is the entrance and says how the files
// divide the work; docs/client.md is the specification.
//
// The Go part of the package is this embedding only, since a go:embed line reaches no
// further than its own folder: the gateway serves the very files that a Node program
// imports.
package js

import "embed"

// Files are the modules and their types, at the root. The tests are not among them.
//
//go:embed *.js *.d.ts
var Files embed.FS
