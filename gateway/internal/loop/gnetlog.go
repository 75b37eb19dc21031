package loop

import (
	"fmt"
	"log/slog"
)

// gnetLogger passes gnet's log on. Its warnings go to the debug level: it warns of every
// event of a connection that is already closed, a thousand in a moment when many leave.
type gnetLogger struct{ log *slog.Logger }

func (g gnetLogger) Debugf(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLogger) Infof(format string, args ...any) { g.Debugf(format, args...) }
func (g gnetLogger) Warnf(format string, args ...any) { g.Debugf(format, args...) }
func (g gnetLogger) Errorf(format string, args ...any) {
	g.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLogger) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
