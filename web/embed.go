// Package web holds the pages that the binary serves.
package web

// ContentSecurityPolicy is what the pages need and no more.
const ContentSecurityPolicy = "default-src 'self'"

// Lookup returns the file at a path.
func Lookup(path string) (body []byte, contentType string, ok bool) {
	return nil, "", false
}
