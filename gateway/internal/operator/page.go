package operator

import (
	"fmt"
	"net/http"

	"rookery/web"
)

// Prefix is where everything of the page is.
const Prefix = "/ops/"

// Handle puts the page and what it reads into the admin listener's addresses.
func (b *Board) Handle(mux *http.ServeMux) {
	mux.Handle("GET /ops", http.RedirectHandler(Prefix, http.StatusMovedPermanently))
	mux.HandleFunc("GET "+Prefix, b.file)
	mux.HandleFunc("GET "+Prefix+"look", b.once)
	mux.HandleFunc("GET "+Prefix+"looks", b.stream)
	mux.HandleFunc("GET "+Prefix+"settings", b.settings)
}

// private are the headers of all answers: nobody keeps them, frames them or takes them for something else.
func private(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Security-Policy", web.OperatorPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// file serves the page and its parts.
func (b *Board) file(w http.ResponseWriter, r *http.Request) {
	body, contentType, ok := web.Operator(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	private(w, contentType)
	w.Write(body)
}

// settings shows what is in force.
func (b *Board) settings(w http.ResponseWriter, _ *http.Request) {
	private(w, "text/plain; charset=utf-8")
	w.Write(b.cfg.Settings())
}

// once gives one look, for programs. While nobody looks it has no rates.
func (b *Board) once(w http.ResponseWriter, r *http.Request) {
	v, end, err := b.view()
	if err != nil {
		http.Error(w, upper(err), http.StatusServiceUnavailable)
		return
	}
	defer end()
	select {
	case look := <-v.looks:
		private(w, "application/json")
		w.Write(look)
	case <-r.Context().Done():
	case <-b.leaving.Done():
		http.Error(w, "The server is shutting down.", http.StatusServiceUnavailable)
	}
}

// stream gives looks as server-sent events until the viewer leaves.
func (b *Board) stream(w http.ResponseWriter, r *http.Request) {
	v, end, err := b.view()
	if err != nil {
		http.Error(w, upper(err), http.StatusServiceUnavailable)
		return
	}
	defer end()
	private(w, "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(w)
	for {
		select {
		case look := <-v.looks:
			if _, err := fmt.Fprintf(w, "data: %s\n\n", look); err != nil || control.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-b.leaving.Done():
			return
		}
	}
}

// upper makes an error a sentence.
func upper(err error) string {
	text := err.Error()
	return string(text[0]-'a'+'A') + text[1:] + "."
}
