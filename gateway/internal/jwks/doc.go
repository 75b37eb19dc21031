// Package jwks keeps the public keys that an issuer of tokens publishes as a JSON Web Key Set (RFC 7517), from
// an address or a file, and follows their rotation.
//
//	key.go   a document to keys: RSA, P-256 and Ed25519, each for its one algorithm
//	seen.go  key ids that nobody knows, and when they were first asked for
//	set.go   the Set: its goroutine, what it fetches and when
//
// # When it is fetched
//
// At the start, then as often as the answer's Cache-Control says, but at least once every Config.Refresh and at most every
// minute. A token with an unknown key id brings the next fetch forward, to five seconds after the last at the earliest,
// whoever asks and however often. After a failed fetch the old keys stay good, and the next is tried after five seconds, then twice
// as long each time, up to Config.Refresh.
//
// A fetch takes ten seconds and 512 KiB at most. Redirects are not followed: keys come from where the setting says. An answer that
// holds no key of use is a failure, so that an issuer's mistake does not lock everybody out.
//
// # What is taken
//
// Keys for RS256 (2048 bits or more), ES256 and EdDSA with Ed25519, whose use is absent or "sig" and whose alg is absent or that
// algorithm. Others, and secrets ("oct") above all, are skipped: a published secret could be used by anybody, and HS256 is
// never checked with what came from outside. Private members of a key are not read. At most 64 keys.
//
// A key id that is given to two keys belongs to the first. A token without a key id is for the only key of its algorithm: "If there
// are multiple keys in the referenced JWK Set document, a kid value MUST be provided" (OpenID Connect Core 10.1).
//
// # Owners
//
// fetchLoop is the only one that changes the keys. They are an immutable table behind an atomic pointer, so that event loops
// read it without waiting. What they ask of it (Wait) takes a lock for a map access.
package jwks
