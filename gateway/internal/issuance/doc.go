// Package issuance gets certificates of a certificate authority by ACME (RFC 8555), keeps them in a folder, and renews them. In the order
// in which things happen:
//
//	keeper.go     what there is now, for handshakes; the loop that sees to it that it stays
//	schedule.go   when a certificate is renewed, and when what failed is tried again
//	suggestion.go the authority's word of when to renew (RFC 9773)
//	attempts.go   what a restart has to know of orders that came to nothing
//	folder.go     the files of the account and of certificates, and whose turn it is to order
//	order.go      one order, from the account to the certificate
//	challenge.go  what the authority asks to see that a name is ours: by TLS (RFC 8737) or by HTTP (RFC 8555 8.3)
//	visitors.go   who may ask by HTTP at a time
//	fault.go      why an order came to nothing, and what is to be done about it
//
// A handshake reads an immutable table and never waits. Everything else is one goroutine's: orders are made one after the other, in the
// background, so a name that can't be had does not hold up connections, only the names behind it, for orderTimeout at most.
//
// # Files
//
// Each authority has a folder of its own below Config.Folder, named after its directory's address, so that what a test authority gave is
// never shown for another. In it are account.key, the account's private key; NAME.pem for each name, its certificate's private key and
// chain in one file, since two could not be replaced in one step; NAME.tried for each name whose last order came to nothing, in JSON, attempts.go; and lock,
// which a process holds (flock) while it may order. Keys and certificates are PEM, and all is for its owner only. A file is written beside its place, synced, and moved there, and the folder is synced.
//
// An account.key that can't be read as a key is moved to account.key.broken and another account is made. A NAME.pem that can't be used is
// ordered anew. A certificate that was given and can't be stored is used as long as the process lives, and is written when that is possible.
//
// # What is not promised
//
// Wildcards are not had: they need the challenge dns-01, and with it the right to change a zone. An address of the Internet Protocol is no
// name here.
package issuance
