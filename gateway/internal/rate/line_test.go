package rate

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var l Line
		for range 250 {
			l.Log(log, slog.LevelWarn, "no", "why", "full")
			time.Sleep(10 * time.Millisecond)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 || strings.Contains(lines[0], "unlogged") || !strings.HasSuffix(lines[2], "level=WARN msg=no why=full unlogged=99") {
			t.Errorf("in two seconds and a half it wrote %q", lines)
		}
	})
}
