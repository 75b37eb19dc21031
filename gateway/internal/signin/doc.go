// Package signin signs people in at an OpenID Connect provider, for the chat page. The gateway asks the provider once, at
// sign-in, and then gives out tokens of its own, short ones of the kind that it takes from everybody, for as long as the
// session lasts.
//
//	signin.go    what is served: the handler, its paths
//	provider.go  the provider: discovery, the exchange of a code, what an ID token has to be
//	login.go     to the provider and back
//	session.go   tokens for a session, and its end
//	person.go    who somebody is by the provider's claims
//	rules.go     what they may do by them
//	seal.go      cookies that only this server reads and writes
//
// # The flow
//
//	GET  /oidc/login     → the provider, with state, nonce and the challenge of PKCE; they stay in a cookie
//	GET  /oidc/callback  ← back with a code; it is exchanged, the ID token checked, and the session begins; → /?signin=done
//	POST /oidc/token     a token for the session
//	POST /oidc/logout    ends the session; says where the provider's own session is ended
//
// It is the authorization code flow (OpenID Connect Core 3.1) with PKCE (RFC 7636, S256) whatever the provider asks for.
// A redirect goes to the provider or to the page, never to what a request names. What went wrong is told to the page as
// a word of a fixed list, /?signin=WORD: text of a stranger's choice must not appear on the page.
//
// # Sessions
//
// A session is a cookie, sealed with a key of this server, so it outlives a restart and takes no memory. It ends with its time, with
// logout, when its person is revoked, and when names come from another provider or claim. Its id is the id (jti) of its tokens,
// so that revoking it ends tokens and live connections too, and their iat is its beginning, so that revoking a user holds for
// tokens that are issued in the same moment.
//
// Cookies are HttpOnly, behind https Secure and bound to this host by their names. That of the session is SameSite=Strict, and
// the requests that use it are POST with the Origin of the page. That of the sign-in is Lax, since it has to come along from the
// provider; one browser signs in once at a time, and the later begin counts.
//
// # Bounds
//
// 16 exchanges with the provider are under way at once, and 256 wait; who comes then is told to try again. An answer of
// the provider may have 1 MiB and take 10 seconds. A sign-in takes 10 minutes at most.
//
// # Not promised
//
// The provider is not asked again during a session: who is locked out there stays until the session ends, or is revoked
// here. There is no back-channel logout.
package signin
