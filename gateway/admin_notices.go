package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"rookery/gateway/internal/notice"
)

// deadNotice is what the answers show of a notice of members that could not be delivered.
type deadNotice struct {
	Number   uint64          `json:"number"`
	ID       string          `json:"id"`
	Created  time.Time       `json:"created"`
	Died     time.Time       `json:"died"`
	Attempts int             `json:"attempts"`
	Error    string          `json:"error"`
	Data     json.RawMessage `json:"data"`
}

func (s *Server) handleNotices(mux *http.ServeMux) {
	mux.HandleFunc("GET /webhooks/dead", s.listDeadNotices)
	mux.HandleFunc("POST /webhooks/dead/{number}", func(w http.ResponseWriter, r *http.Request) {
		s.changeDeadNotice(w, r, (*notice.Keeper).Resend)
	})
	mux.HandleFunc("DELETE /webhooks/dead/{number}", func(w http.ResponseWriter, r *http.Request) {
		s.changeDeadNotice(w, r, (*notice.Keeper).Discard)
	})
}

// listDeadNotices shows a page, the oldest first.
func (s *Server) listDeadNotices(w http.ResponseWriter, r *http.Request) {
	after, most, ok := deadPage(w, r)
	if !ok || !s.tellsOfMembers(w) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	letters, err := s.notices.DeadLetters(ctx, after, most+1)
	if err != nil {
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
		return
	}
	shown := make([]deadNotice, 0, most)
	for _, d := range letters[:min(most, len(letters))] {
		shown = append(shown, deadNotice{d.Number, d.ID, shownTime(d.Created), shownTime(d.Died), d.Attempts, d.Error, d.Body})
	}
	answerJSON(w, map[string]any{"dead": shown, "more": len(letters) > most})
}

// changeDeadNotice sends one once more and waits for what comes of it, or discards it.
func (s *Server) changeDeadNotice(w http.ResponseWriter, r *http.Request, change func(*notice.Keeper, context.Context, uint64) error) {
	number, ok := deadNumber(w, r)
	if !ok || !s.tellsOfMembers(w) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	switch err := change(s.notices, ctx, number); {
	case errors.Is(err, notice.ErrNoLetter):
		http.Error(w, sentence(err), http.StatusNotFound)
	case err != nil:
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
	default:
		s.log.Info("dead notice of members", "method", r.Method, "number", number)
		w.WriteHeader(http.StatusNoContent)
	}
}

// tellsOfMembers answers where nobody is told.
func (s *Server) tellsOfMembers(w http.ResponseWriter) bool {
	if s.notices == nil {
		http.Error(w, "Nobody is told of members; the settings webhooks.url and webhooks.events say who is.", http.StatusNotFound)
	}
	return s.notices != nil
}
