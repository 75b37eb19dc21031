package loop

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"rookery/gateway/internal/rate"
)

// gnetLogger passes gnet's log on. Its warnings go to the debug level: it warns of every
// event of a connection that is already closed, a thousand in a moment when many leave.
// Of its errors one of a kind is written a second: an accept that fails does so at every turn, and must not hide why a loop ends.
type gnetLogger struct {
	log          *slog.Logger
	lines        *sync.Map // of *rate.Line, by their format
	acceptFailed func(error)
}

// acceptLine is how gnet's line begins that says why an accept failed, which it tells in no other way.
const acceptLine = "Accept() failed"

func (g gnetLogger) Debugf(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLogger) Infof(format string, args ...any) { g.Debugf(format, args...) }
func (g gnetLogger) Warnf(format string, args ...any) { g.Debugf(format, args...) }
func (g gnetLogger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, acceptLine) && len(args) > 0 {
		if err, is := args[0].(error); is {
			g.acceptFailed(err)
		}
	}
	line, _ := g.lines.LoadOrStore(format, new(rate.Line))
	line.(*rate.Line).Log(g.log, slog.LevelError, "gnet: "+fmt.Sprintf(format, args...))
}
func (g gnetLogger) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
