// Package audit writes down what operators and backends do at the admin listener, a line of JSON each, for who has to
// answer for it later.
//
// A Log owns one file. Handler puts an Entry into the context of a request; whoever serves it adds what only it knows, and the line is
// written when the request was answered. So the line says how it came out, and nothing waits for a disk before it acts: a
// file that can't be written is reported, counted, and tried again with the next line, and the work goes on.
//
// # Bounds
//
// Of a request's body the first 4 KiB are kept, of a path as much. The file has no bound: it is for logrotate, and opened again by Reopen.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostBytes is how much of a body or a path is kept.
	mostBytes = 4 << 10
	// fileMode keeps what the server's user did for it and who may read its group.
	fileMode = 0o640
)

// Entry is one line.
type Entry struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation"`        // of the server API its operation, else method and path
	Key       string    `json:"key,omitempty"`    // name of the key that the server API was given
	Remote    string    `json:"remote,omitempty"` // address of who asked
	Path      string    `json:"path,omitempty"`   // with the query
	Request   any       `json:"request,omitempty"`
	Status    int       `json:"status,omitempty"` // what was answered

	// Kept says that the entry is written. Content, that the body is or may be what somebody says, which is not for this file.
	Kept    bool `json:"-"`
	Content bool `json:"-"`

	log *Log // of Handler
}

// WriteNow writes the line of a request that will take long, as answered with 200, and not once more when it has ended.
func (e *Entry) WriteNow() {
	if e.log == nil || !e.Kept {
		return
	}
	e.Kept, e.Status = false, http.StatusOK
	e.log.Write(*e)
}

type entryKey struct{}

// Of gives the entry of a request, to add to; outside of Handler one that nobody reads.
func Of(ctx context.Context) *Entry {
	if e, ok := ctx.Value(entryKey{}).(*Entry); ok {
		return e
	}
	return &Entry{}
}

// Log is the file. The nil Log writes nothing. Its methods are safe for concurrent use.
type Log struct {
	// Set at construction.
	path   string
	logger *slog.Logger

	asked atomic.Int64 // Reopens that have begun

	mu      sync.Mutex // guards all below, held for one write
	file    *os.File
	of      int64 // which Reopen has opened it
	failing bool
	torn    bool // the file ends in a part of a line

	failures atomic.Int64
}

// Open opens the file for appending, or makes it. Close ends it. An empty path is no log, nil.
func Open(path string, logger *slog.Logger) (*Log, error) {
	if path == "" {
		return nil, nil
	}
	l := &Log{path: path, logger: logger}
	return l, l.Reopen()
}

// Reopen opens the file again, which somebody may have moved away. If that fails the one before is kept. Of several at once the one that began last counts: what
// the disk gave an earlier one may have been moved away since.
func (l *Log) Reopen() error {
	if l == nil {
		return nil
	}
	of := l.asked.Add(1)
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil {
		return fmt.Errorf("open the audit log (setting audit_file): %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if of < l.of {
		file.Close()
		return nil
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.of, l.torn = file, of, false
	return nil
}

// Write writes a line, with the time it is now.
func (l *Log) Write(e Entry) {
	if l == nil {
		return
	}
	e.At = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		panic("BUG: an audit entry can't be written as JSON: " + err.Error())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return // closed
	}
	line = append(line, '\n')
	if l.torn {
		line = append([]byte{'\n'}, line...) // what a full disk cut off must not spoil this one too
	}
	n, err := l.file.Write(line)
	if err != nil {
		l.failures.Add(1)
	}
	if n > 0 {
		l.torn = line[n-1] != '\n'
	}
	if failing := err != nil; failing != l.failing {
		l.failing = failing
		if failing {
			l.logger.Error("the audit log can't be written; lines are lost until it can", "file", l.path, "err", err)
		} else {
			l.logger.Info("the audit log is written again", "file", l.path)
		}
	}
}

// Failures counts the lines that were lost.
func (l *Log) Failures() int64 {
	if l == nil {
		return 0
	}
	return l.failures.Load()
}

// Close ends the log; what comes after it is not written.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// Handler writes a line for every request that is to be kept: those that may change something, unless whoever serves one says
// otherwise in its entry.
func (l *Log) Handler(next http.Handler) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Entry{
			log:       l,
			Operation: r.Method + " " + clip(r.URL.Path), Remote: r.RemoteAddr, Path: clip(r.URL.RequestURI()),
			Kept: r.Method != http.MethodGet && r.Method != http.MethodHead,
		}
		body := &body{ReadCloser: r.Body}
		r = r.WithContext(context.WithValue(r.Context(), entryKey{}, e))
		r.Body = body
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if !e.Kept {
				return
			}
			e.Status = answer.status
			if !e.Content {
				e.Request = body.read()
			}
			l.Write(*e)
		}()
		next.ServeHTTP(answer, r)
	})
}

func clip(s string) string { return s[:min(len(s), mostBytes)] }

// body keeps what is read of a request.
type body struct {
	io.ReadCloser
	kept []byte
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.kept = append(b.kept, p[:min(n, mostBytes-len(b.kept))]...)
	return n, err
}

// read is JSON as it is, anything else as text; nil if there was nothing.
func (b *body) read() any {
	switch {
	case len(b.kept) == 0:
		return nil
	case json.Valid(b.kept):
		return json.RawMessage(b.kept)
	}
	return string(b.kept)
}

// answer keeps the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is how http.ResponseController finds the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
