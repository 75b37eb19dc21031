package operator

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard keeps pages of others from what the admin listener serves to whoever reaches it, as an operator's browser does:
//
//   - Nothing that acts is done for a page of another origin, and a page can't take the origin over by having its own name lead here
//     (DNS rebinding): a browser says which name it has asked for, and it must be an address, localhost, or one of hosts.
//   - Nothing is read under another name but what monitors ask for, who have names of their own for the listener, and what a key is needed for: a
//     page's requests to its own origin have no Origin when they read.
//   - Nothing of that is put into a page of another origin, as an image or a frame: it would not be read there, but profiles cost, and looks have
//     places. Browsers say so at addresses with TLS or of this machine.
//
// Programs send no Origin, and may act: who reaches the listener is trusted. What has a key besides, as the server API, is behind it too.
func Guard(hosts []string, next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acts := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
		if err := protection.Check(r); err != nil || !acts && !anybodys(r.URL.Path) && embedded(r) {
			http.Error(w, "A page of another origin asks for this, which is refused.", http.StatusForbidden)
			return
		}
		asked := r.Header.Get("Origin") != ""
		if !acts {
			asked = r.Host != "" && !anybodys(r.URL.Path) // every browser names a host
		}
		if asked && !trusted(hosts, r.Host) {
			http.Error(w, fmt.Sprintf("This is asked for under the name %q, which may be anybody's. Use the listener's address or localhost, or put the name into the setting admin_hosts.", r.Host),
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// embedded reports whether a browser asks on behalf of a page of another origin, and not since somebody follows a link there.
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Dest") != "document"
}

// anybodys reports whether a path tells nothing of people, or asks for a key, which a page of somebody else does not have.
func anybodys(path string) bool {
	return path == "/metrics" || path == "/healthz" || path == "/readyz" || strings.HasPrefix(path, "/v1/")
}

// trusted reports whether the name that was asked for can't be one that somebody else has lead here.
func trusted(hosts []string, host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || slices.ContainsFunc(hosts, func(h string) bool { return strings.ToLower(h) == host })
}
