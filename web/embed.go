// Package web is the chat page and the operator's page that the binary serves, as plain files in memory: no build
// step, no framework, nothing from another host.
//
// The addresses of the chat page are
//
//	/                    the page
//	/app/page.js, .css   all its modules in one, and all its styles
//	/app/*.js *.css      its modules and styles
//	/app/icon.svg        its icon
//	/app/*.webmanifest   what it is once it was added to a home screen
//	/sw.js               its service worker, here since it may only do what is below its own address
//	/client/*.js *.d.ts  the JavaScript client, for everybody
//	/v/VERSION/app/…     what is at /app/ and /client/, where the page has it from
//
// The page asks the server that it came from for /settings.json, what that is like, and, where people sign in with a provider, for
// what is below /oidc/. Neither is a file.
//
// # Loading
//
// The page asks for one file with all its modules and one with all its styles, which are made of the others at start (join.go), so that
// a first visit takes two round trips, the second also for what the server is like. They are below a version that is another one with any
// other file: they are kept for ever, and a reload asks for the page alone. Modules import each other by relative addresses, also the
// client's, for the service worker and Node have them as they are. Of another address than that browsers ask each
// time whether the file is still the same, which its entity tag says. All come compressed.
//
// # Security
//
// What people write is put into the page as text nodes only (app/elements.js), and the
// ContentSecurityPolicy forbids everything that would make markup of it: inline scripts and
// styles, evaluated code, and, where browsers know trusted types, innerHTML itself. A server
// of the page must send the policy with "/". A worker can only be made of /sw.js: the one policy of
// trusted types, which app/away.js makes, gives no other address.
//
// # The page's parts
//
//	main.js               who is there: signing in or chatting
//	signin.js             the first view
//	session.js            tokens for who signed in with a provider
//	chat.js               owner of the client, the views and which room is seen
//	rooms.js              all rooms of the person and their order
//	conversation.js       one room: a window of messages, what is unread
//	outgoing.js           what was written in it here and has no place yet
//	changes.js            what was asked for about messages here and is not answered yet
//	receipts.js           how far everybody has come in it
//	people.js             who is there and who is typing
//	membership.js         what may be done in a room with members, and by whom
//	member-list.js        its members, page by page
//	timeline.js           shows a conversation and keeps the reader's place
//	message-view.js       one line of it, with changes-view.js and mentions.js
//	long-text.js          folds long ones
//	message-actions.js    what can be done to a message
//	notifications.js      what is told while nobody looks
//	away.js               whether this device is told while no page is open, with away-view.js
//	summary.js            what the service worker does, and the words of notifications
//	panel.js              a thread, or what is pinned
//	rooms-view.js, room-filter.js, create-dialog.js, members-view.js, room-settings.js, people-view.js, silence-view.js
//	composer.js, connection-view.js, announcer.js, shortcuts.js
//	settings.js           what is remembered over a reload
//	names.js, times.js, characters.js, keys.js, elements.js
//
// # The operator's page
//
// It is on the admin listener:
//
//	/ops/                         its page
//	/ops/operator/page.js, .css   all its modules in one, and all its styles, with what it has in common with the chat page
//	/ops/page/app/icon.svg        its icon
//
// Its modules are joined as if they were at addresses below /ops/, where folders are as here, so that imports are the same for Node:
//
//	main.js      what there is and who updates it
//	looks.js     looks from the server, as they come
//	figures.js   what a look says, in words and tones
//	units.js     numbers for people
//	tables.js    tables that keep the place of who is in them
//	actions.js   the server API, with a key, in actions-view.js
//	trace.js     the frames of one user, in trace-view.js
//
// Those that know nothing of the document are tested in Node (test/): rooms.js, conversation.js, outgoing.js, changes.js, receipts.js,
// people.js, membership.js, member-list.js, away.js, summary.js, session.js, settings.js, names.js and times.js, and of long-text.js
// where it cuts. The whole is tested in a browser (test/e2e).
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	js "rookery/client/js"
)

// OperatorPolicy is the content security policy of the operator's page.
const OperatorPolicy = "default-src 'none'; " +
	"script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// ContentSecurityPolicy is the header of that name for the page. connect-src 'self' covers
// the WebSocket of the same host and port.
const ContentSecurityPolicy = "default-src 'none'; " +
	"script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types rookery-worker"

//go:embed page
var page embed.FS

//go:embed operator
var operator embed.FS

// common are the files of the chat page that the operator's page is made of too.
var common = []string{"base.css", "elements.js", "icon.svg"}

// File is what is at an address.
type File struct {
	Body []byte // shared, must not be changed
	Gzip []byte // the same, compressed
	Type string // media type
	Tag  string // entity tag, weak since it is that of both bodies: another one in another version of the file
	Kept bool   // it is the same at this address for ever
}

// Reading from an embed.FS copies; a server answers the same few files for ever.
var files = sync.OnceValue(func() map[string]File {
	all := map[string]File{}
	add(all, page, "page", "/")
	add(all, js.Files, ".", "/client/")
	html := joined(all["/index.html"].Body, all, "/app/")
	below := `="/v/` + versionOf(all)
	for _, folder := range versioned {
		html = bytes.ReplaceAll(html, []byte(`="`+folder), []byte(below+folder))
	}
	all["/"] = ready(File{Body: html, Type: contentTypes[".html"]})
	delete(all, "/index.html")
	return all
})

// versioned are the folders that are below a version, too.
var versioned = []string{"/app/", "/client/"}

var version = sync.OnceValue(func() string { return versionOf(files()) })

// versionOf is another one where any versioned file is another one.
func versionOf(all map[string]File) string {
	sum := sha256.New()
	for _, address := range slices.Sorted(maps.Keys(all)) {
		if slices.ContainsFunc(versioned, func(folder string) bool { return strings.HasPrefix(address, folder) }) {
			fmt.Fprintln(sum, address, all[address].Tag)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// ready adds what a file is answered with beside its body.
func ready(f File) File {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(f.Body) // a buffer takes everything
	w.Close()
	f.Gzip = out.Bytes()
	sum := sha256.Sum256(f.Body)
	f.Tag = fmt.Sprintf(`W/"%x"`, sum[:8])
	return f
}

var operatorFiles = sync.OnceValue(func() map[string]File {
	all := map[string]File{}
	add(all, operator, "operator", "/ops/operator/")
	for _, name := range common {
		all["/ops/page/app/"+name] = files()["/app/"+name]
	}
	html := joined(all["/ops/operator/index.html"].Body, all, "/ops/operator/")
	served := map[string]File{"/ops/": {Body: html, Type: contentTypes[".html"]}}
	for _, address := range []string{"/ops/operator/page.js", "/ops/operator/page.css", "/ops/page/app/icon.svg"} {
		served[address] = all[address] // nobody asks for what these are made of
	}
	return served
})

// Operator is Lookup for the operator's page, whose address is "/ops/".
func Operator(path string) (body []byte, contentType string, ok bool) {
	f, ok := operatorFiles()[path]
	return f.Body, f.Type, ok
}

// Lookup returns the file at a path of the address ("/", "/app/main.js"); ok is false when
// there is none. The first call joins and compresses all files, 20 ms. Safe for concurrent use.
func Lookup(path string) (f File, ok bool) {
	rest, below := strings.CutPrefix(path, "/v/")
	if !below {
		f, ok = files()[path]
		return f, ok
	}
	// A page of another version of this server, as while one takes over, asks for that version: it gets what there is, not for ever.
	of, name, _ := strings.Cut(rest, "/")
	for _, folder := range versioned {
		if strings.HasPrefix("/"+name, folder) {
			f, ok = files()["/"+name]
			f.Kept = of == version()
		}
	}
	return f, ok
}

// Paths returns the addresses that Lookup knows, in no order.
func Paths() []string {
	var paths []string
	for p := range files() {
		paths = append(paths, p)
	}
	return paths
}

// add puts the files of tree under root at the address prefix. The files are compiled in, so
// whatever is wrong with them is our own mistake.
func add(all map[string]File, tree fs.FS, root, prefix string) {
	sub, err := fs.Sub(tree, root)
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded folder %s: %v", root, err))
	}
	err = fs.WalkDir(sub, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(sub, name)
		if err != nil {
			return err
		}
		contentType, known := contentTypes[path.Ext(name)]
		if !known {
			return fmt.Errorf("%s: no media type for such a file", name)
		}
		all[prefix+name] = ready(File{Body: body, Type: contentType})
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded files: %v", err))
	}
}

// Written down rather than asked of package mime, which reads the tables of the machine: a
// module that comes as text/plain is not run by any browser.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".ts":   "text/plain; charset=utf-8",

	".webmanifest": "application/manifest+json",
}
