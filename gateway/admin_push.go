package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"rookery/gateway/internal/push"
)

const (
	defaultDeadLetters = 100
	mostDeadLetters    = 1000
)

// deadLetter is what the answers show of one.
type deadLetter struct {
	Number   uint64     `json:"number"`
	User     string     `json:"user"`
	Kind     string     `json:"kind"`
	Device   string     `json:"device,omitempty"`
	Created  time.Time  `json:"created"`
	Died     time.Time  `json:"died"`
	Attempts int        `json:"attempts"`
	Error    string     `json:"error"`
	Rooms    []deadRoom `json:"rooms"`
}

type deadRoom struct {
	Room     string `json:"room"`
	Messages int    `json:"messages"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
}

func (s *Server) handlePush(mux *http.ServeMux) {
	mux.HandleFunc("GET /push/dead", s.listDeadLetters)
	mux.HandleFunc("POST /push/dead/{number}", func(w http.ResponseWriter, r *http.Request) {
		s.changeDeadLetter(w, r, (*push.Keeper).Resend)
	})
	mux.HandleFunc("DELETE /push/dead/{number}", func(w http.ResponseWriter, r *http.Request) {
		s.changeDeadLetter(w, r, (*push.Keeper).Discard)
	})
}

// listDeadLetters shows a page, the oldest first.
func (s *Server) listDeadLetters(w http.ResponseWriter, r *http.Request) {
	if !s.pushes(w) {
		return
	}
	after, most, ok := deadPage(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	letters, err := s.push.DeadLetters(ctx, after, most+1)
	if err != nil {
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
		return
	}
	more := len(letters) > most
	shown := make([]deadLetter, min(len(letters), most))
	for i := range shown {
		shown[i] = shownDeadLetter(&letters[i])
	}
	answerJSON(w, map[string]any{"dead": shown, "more": more})
}

// deadPage reads which dead letters are wanted, and answers if that can't be read.
func deadPage(w http.ResponseWriter, r *http.Request) (after uint64, most int, ok bool) {
	limit := uint64(defaultDeadLetters)
	for name, number := range map[string]*uint64{"after": &after, "limit": &limit} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		var err error
		if *number, err = strconv.ParseUint(text, 10, 53); err != nil {
			http.Error(w, fmt.Sprintf("%s is %q, must be a number.", name, text), http.StatusBadRequest)
			return 0, 0, false
		}
	}
	return after, int(min(limit, mostDeadLetters)), true
}

// deadNumber reads which dead letter is meant, and answers if that can't be read.
func deadNumber(w http.ResponseWriter, r *http.Request) (number uint64, ok bool) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 53)
	if err != nil || number == 0 {
		http.Error(w, "A dead letter is named by its number.", http.StatusBadRequest)
		return 0, false
	}
	return number, true
}

// changeDeadLetter sends one once more, or discards it.
func (s *Server) changeDeadLetter(w http.ResponseWriter, r *http.Request, change func(*push.Keeper, context.Context, ...uint64) (int, error)) {
	if !s.pushes(w) {
		return
	}
	number, ok := deadNumber(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomRequestTimeout)
	defer cancel()
	switch n, err := change(s.push, ctx, number); {
	case err != nil:
		http.Error(w, sentence(err), http.StatusServiceUnavailable)
	case n == 0:
		http.Error(w, "There is no such dead letter, or it can't be queued now.", http.StatusNotFound)
	default:
		s.log.Info("dead letter of push", "method", r.Method, "number", number)
		w.WriteHeader(http.StatusNoContent)
	}
}

// pushes answers where push is off.
func (s *Server) pushes(w http.ResponseWriter) bool {
	if s.push == nil {
		http.Error(w, "Push is off; one of the settings push.webhook, push.web_push_key, push.apns.key_file and push.fcm.account_file turns it on.", http.StatusNotFound)
	}
	return s.push != nil
}

// shownTime is a time in milliseconds as answers show it.
func shownTime(ms int64) time.Time { return time.UnixMilli(ms).UTC().Truncate(time.Second) }

func shownDeadLetter(d *push.DeadLetter) deadLetter {
	shown := deadLetter{
		Number: d.Number, User: d.User, Kind: d.Kind, Device: d.Device, Created: shownTime(d.Created), Died: shownTime(d.Died),
		Attempts: d.Attempts, Error: d.Error,
	}
	for _, room := range d.Rooms() {
		shown.Rooms = append(shown.Rooms, deadRoom{room.Room, room.Messages, room.First, room.Last})
	}
	return shown
}
