package rate

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// lineEvery is the least time between two lines of a Line.
const lineEvery = time.Second

// Line bounds a line of the log that strangers can have written as often as they like, or that a fault of the system has written for each of many
// connections. The zero Line is ready. Safe for concurrent use.
type Line struct {
	mu   sync.Mutex // guards all below
	next time.Time  // when there may be one again
	left int        // that were not written since the last one
}

// Log writes the line, unless it did so within the last second. Then the next one says as unlogged how many were left out.
func (l *Line) Log(log *slog.Logger, level slog.Level, message string, fields ...any) {
	now := time.Now()
	l.mu.Lock()
	if now.Before(l.next) {
		l.left++
		l.mu.Unlock()
		return
	}
	left := l.left
	l.left, l.next = 0, now.Add(lineEvery)
	l.mu.Unlock()
	if left > 0 {
		fields = append(fields, "unlogged", left)
	}
	log.Log(context.Background(), level, message, fields...)
}
