package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"rookery/proto"
	"rookery/storage"
	"rookery/storage/catalog"
)

const (
	// roomRequestBytes is the largest body of a request about a room.
	roomRequestBytes = 4 << 10
	// roomRequestTimeout is when an answer of the disk is not waited for any longer.
	roomRequestTimeout = 10 * time.Second
)

// roomRetention is a policy as operators write it. Zero or absent is no bound.
type roomRetention struct {
	Age      string `json:"age,omitempty"`
	Messages uint64 `json:"messages,omitempty"`
	Bytes    uint64 `json:"bytes,omitempty"`
}

// retentionInForce is the answer to all three requests.
type retentionInForce struct {
	Room      string        `json:"room"`
	Retention roomRetention `json:"retention"`
	// From is where it comes from: "room", "default", or the rule of the settings.
	From string `json:"from"`
}

func (s *Server) handleRooms(mux *http.ServeMux) {
	mux.HandleFunc("GET /rooms/{room}/retention", s.getRetention)
	mux.HandleFunc("PUT /rooms/{room}/retention", s.putRetention)
	mux.HandleFunc("DELETE /rooms/{room}/retention", s.deleteRetention)
}

func (s *Server) getRetention(w http.ResponseWriter, r *http.Request) {
	if room, ok := roomOf(w, r); ok {
		s.showRetention(w, room)
	}
}

// putRetention gives the room a policy of its own; one without a bound keeps everything.
func (s *Server) putRetention(w http.ResponseWriter, r *http.Request) {
	room, ok := roomOf(w, r)
	if !ok {
		return
	}
	policy, err := readRetention(http.MaxBytesReader(w, r.Body, roomRequestBytes))
	if err != nil {
		http.Error(w, sentence(err), http.StatusBadRequest)
		return
	}
	s.changeRetention(w, r, room, &policy)
}

// deleteRetention leaves the room to the settings.
func (s *Server) deleteRetention(w http.ResponseWriter, r *http.Request) {
	if room, ok := roomOf(w, r); ok {
		s.changeRetention(w, r, room, nil)
	}
}

func (s *Server) changeRetention(w http.ResponseWriter, r *http.Request, room string, policy *storage.Retention) {
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	if err := s.catalog.Update(ctx, catalog.SetRetention(room, policy)); err != nil {
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
		return
	}
	s.store.Retain(s.retention) // looked at now, not at the next round
	now := "as in the settings"
	if policy != nil {
		now = fmt.Sprintf("%+v", *policy)
	}
	s.log.Info("retention of a room changed", "room", room, "now", now)
	s.showRetention(w, room)
}

func (s *Server) showRetention(w http.ResponseWriter, room string) {
	policy, from, err := s.retentionOf(room)
	if err != nil {
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
		return
	}
	shown := retentionInForce{Room: room, From: from}
	shown.Retention.Messages, shown.Retention.Bytes = policy.Records, policy.Bytes
	if policy.Age != 0 {
		shown.Retention.Age = durationValue{field: &policy.Age}.String()
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(shown) // who does not wait for the answer misses it
}

// roomOf gives the room of the path, or answers that it is none.
func roomOf(w http.ResponseWriter, r *http.Request) (room string, ok bool) {
	room = r.PathValue("room")
	if !proto.ValidName(room) {
		http.Error(w, fmt.Sprintf("A room is 1 to %d bytes of UTF-8 without control characters, percent-encoded.", proto.MaxName), http.StatusBadRequest)
		return "", false
	}
	return room, true
}

// readRetention reads a policy; what it does not know or understand is an error, since the result of a
// misspelt bound would be that messages are kept or dropped which should not be.
func readRetention(body io.Reader) (storage.Retention, error) {
	const want = `write {"age":"720h","messages":1000,"bytes":1073741824} or some of it`
	var given *roomRetention
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&given)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		where := "policy"
		if wrong.Field != "" {
			where = "field " + wrong.Field
		}
		return storage.Retention{}, fmt.Errorf("the %s does not take this: %s; %s", where, wrong.Value, want)
	}
	if err == nil && given == nil {
		err = errors.New("it is null")
	}
	if err != nil {
		return storage.Retention{}, fmt.Errorf("the policy can't be read, %s; %s", strings.TrimPrefix(err.Error(), "json: "), want)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return storage.Retention{}, fmt.Errorf("there is something behind the policy; %s", want)
	}
	var age time.Duration
	if v := (durationValue{&age, time.Second, century}); given.Age != "" {
		if err := v.Set(given.Age); err != nil {
			return storage.Retention{}, fmt.Errorf("age %q %w", given.Age, err)
		}
		if reason := v.fault(); age != 0 && reason != "" {
			return storage.Retention{}, fmt.Errorf("age %q %s", given.Age, reason)
		}
	}
	if given.Messages > proto.MaxInteger || given.Bytes > proto.MaxInteger {
		return storage.Retention{}, fmt.Errorf("messages and bytes are at most %d", int64(proto.MaxInteger))
	}
	return storage.Retention{Age: age, Records: given.Messages, Bytes: given.Bytes}, nil
}

// sentence makes an error's text one for a human: with a capital and a full stop.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
