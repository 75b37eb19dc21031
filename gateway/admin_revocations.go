package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"rookery/gateway/internal/revocation"
	"rookery/proto"
)

// unboundedRevocation is how long a revocation is kept where nothing says how long tokens live.
const unboundedRevocation = 366 * 24 * time.Hour

// revocationRequest is what POST takes and what the answers show.
type revocationRequest struct {
	Token string     `json:"token,omitempty"`
	User  string     `json:"user,omitempty"`
	At    *time.Time `json:"at,omitempty"`
	Until *time.Time `json:"until,omitempty"`
}

func (s *Server) handleRevocations(mux *http.ServeMux) {
	mux.HandleFunc("GET /revocations", s.listRevocations)
	mux.HandleFunc("POST /revocations", s.revoke)
	mux.HandleFunc("DELETE /revocations/token/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.restore(w, r, revocation.Key{Token: r.PathValue("name")})
	})
	mux.HandleFunc("DELETE /revocations/user/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.restore(w, r, revocation.Key{User: r.PathValue("name")})
	})
}

// listRevocations shows all, by name.
func (s *Server) listRevocations(w http.ResponseWriter, _ *http.Request) {
	all := s.revocations.List()
	slices.SortFunc(all, func(a, b revocation.Entry) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.Token, b.Token))
	})
	shown := make([]revocationRequest, len(all))
	for i, e := range all {
		shown[i] = shownRevocation(e)
	}
	answerJSON(w, map[string]any{"revocations": shown})
}

// revoke puts a revocation in force, and ends the connections that it is about within a second.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	entry, err := readRevocation(http.MaxBytesReader(w, r.Body, roomRequestBytes), now, s.revocationLife())
	if err != nil {
		http.Error(w, sentence(err), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	switch err := s.revocations.Add(ctx, entry); {
	case errors.Is(err, revocation.ErrFull):
		http.Error(w, sentence(err), http.StatusInsufficientStorage)
	case err != nil:
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
	default:
		s.log.Info("revoked", "token", entry.Token, "user", entry.User, "until", entry.Until)
		answerJSON(w, shownRevocation(entry))
	}
}

// restore takes a revocation back. Connections that it has ended do not come back by it.
func (s *Server) restore(w http.ResponseWriter, r *http.Request, key revocation.Key) {
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	switch was, err := s.revocations.Remove(ctx, key); {
	case err != nil:
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
	case !was:
		http.Error(w, "There is no such revocation.", http.StatusNotFound)
	default:
		s.log.Info("revocation taken back", "token", key.Token, "user", key.User)
		w.WriteHeader(http.StatusNoContent)
	}
}

// revocationLife is how long the longest token or session lives that is good now.
func (s *Server) revocationLife() time.Duration {
	auth := s.auth.Load()
	if auth.MaxLifetime == 0 {
		return unboundedRevocation
	}
	life := auth.MaxLifetime
	if s.cfg.OIDC.on() {
		life = max(life, s.cfg.OIDC.Session) // who is signed in gets new tokens for so long
	}
	return life + 2*auth.Leeway
}

func readRevocation(body io.Reader, now time.Time, life time.Duration) (revocation.Entry, error) {
	const want = `write {"token":"<jti>"} or {"user":"<name>"}, and "until":"2026-01-31T00:00:00Z" if you know when the last token ends`
	var given revocationRequest
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&given); err != nil {
		return revocation.Entry{}, fmt.Errorf("the revocation can't be read, %s; %s", strings.TrimPrefix(err.Error(), "json: "), want)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return revocation.Entry{}, fmt.Errorf("there is something behind the revocation; %s", want)
	}
	entry := revocation.Entry{Key: revocation.Key{Token: given.Token, User: given.User}, At: now, Until: now.Add(life)}
	if err := entry.Check(proto.ValidName); err != nil {
		return revocation.Entry{}, fmt.Errorf("%w; %s", err, want)
	}
	if given.At != nil {
		return revocation.Entry{}, errors.New("at is the moment of the revocation, which is now; leave it out")
	}
	if given.Until != nil {
		if entry.Until = *given.Until; !now.Before(entry.Until) {
			return revocation.Entry{}, errors.New("until has passed, so there is nothing to revoke")
		}
	}
	return entry, nil
}

func shownRevocation(e revocation.Entry) revocationRequest {
	at, until := e.At.UTC().Truncate(time.Second), e.Until.UTC().Truncate(time.Second)
	return revocationRequest{Token: e.Token, User: e.User, At: &at, Until: &until}
}

func answerJSON(w http.ResponseWriter, shown any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(shown) // who does not wait for the answer misses it
}
