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
//   - The operator's page and what it reads are given under such a name only.
//
// Programs send no Origin, and are let through: who reaches the listener is trusted. What has a key besides, as the server API, is behind it too.
func Guard(hosts []string, next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acts := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
		if err := protection.Check(r); err != nil {
			http.Error(w, "A page of another origin asks for this, which is refused.", http.StatusForbidden)
			return
		}
		ours := r.URL.Path == "/ops" || strings.HasPrefix(r.URL.Path, Prefix)
		if (ours || acts && r.Header.Get("Origin") != "") && !trusted(hosts, r.Host) {
			http.Error(w, fmt.Sprintf("A browser asks for this under the name %q. Use the listener's address or localhost, or put the name into the setting admin_hosts.", r.Host),
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
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
