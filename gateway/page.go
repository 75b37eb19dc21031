package gateway

import (
	"encoding/json"

	"rookery/gateway/internal/loop"
	"rookery/web"
)

// settingsPath is where the page asks what this server is like.
const settingsPath = "/settings.json"

// pageSettings is what it is told.
type pageSettings struct {
	// Development: anyone connects under any name.
	Development bool        `json:"development"`
	SignIn      *pageSignIn `json:"signIn,omitempty"`
}

// pageSignIn is who people can sign in with.
type pageSignIn struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Ready bool   `json:"ready"` // the provider has answered
}

// pages makes all files of the chat page ready, which takes a time that no loop has, and returns what gives them.
func (s *Server) pages() func(path string) (loop.File, bool) {
	web.Lookup("/")
	return s.page
}

// page gives a file of the chat page. It never waits.
func (s *Server) page(path string) (loop.File, bool) {
	if path != settingsPath {
		f, ok := web.Lookup(path)
		return loop.File(f), ok
	}
	settings := pageSettings{Development: s.cfg.Dev}
	if s.signIn != nil {
		settings.SignIn = &pageSignIn{Name: s.cfg.OIDC.shownName(), URL: s.signIn.LoginURL(), Ready: s.signIn.Ready()}
	}
	body, err := json.Marshal(settings)
	if err != nil {
		panic("BUG: the settings of the page can't be written: " + err.Error())
	}
	return loop.File{Body: body, Type: "application/json"}, true
}
