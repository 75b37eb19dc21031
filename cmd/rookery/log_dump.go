package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"rookery/proto"
	"rookery/storage"
	"rookery/storage/commitlog"
)

const logDumpUsage = `Usage: rookery log dump [FLAGS]

Prints the records of the log in its order, one JSON object a line: position, room, seq, at
(Unix milliseconds), from, key, and text or data (base64) of a message. A body that is neither is
"body", in base64. "stub": true stands for messages up to seq that are gone. Rooms whose names begin
with \u0001 are the server's own.

What is damaged is passed over, told on the standard error, and the exit status is 1 then.

`

// dumped is a line of the output.
type dumped struct {
	Position int64   `json:"position"`
	Room     string  `json:"room"`
	Seq      uint64  `json:"seq"`
	At       int64   `json:"at"`
	Stub     bool    `json:"stub,omitempty"`
	From     string  `json:"from,omitempty"`
	Key      string  `json:"key,omitempty"`
	Text     *string `json:"text,omitempty"`
	Data     []byte  `json:"data,omitempty"`
	// Says is the publish of a record that is more than a text or data; Body is one of another kind.
	Says json.RawMessage `json:"says,omitempty"`
	Body []byte          `json:"body,omitempty"`
}

// logDump prints records.
func logDump(_ context.Context, args []string, p process) int {
	set := newFlagSet("log dump", p)
	data := addData(set, p.environ)
	room := set.String("room", "", "only records of this `room`")
	from := set.Int64("from", 0, "only records at this `position` or behind")
	limit := set.Int("limit", 0, "end behind this `number` of records; 0 is no limit")
	rest, status, done := parse(set, logDumpUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("log dump", "argument %q: everything is a flag, --room NAME", rest[0])
	case *from < 0 || *limit < 0:
		return p.refuse("log dump", "--from and --limit are 0 or more")
	}
	v, status, done := openView("log dump", *data, p)
	if done {
		return status
	}
	defer v.Close()
	out := bufio.NewWriter(p.stdout)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	count, skipped := 0, 0
	var written error
	_, err := v.Scan(segmentOf(v, *from), func(e commitlog.Entry) bool {
		if e.Position < *from || given(set, "room") && e.Record.Room != *room {
			return true
		}
		written = lines.Encode(dump(e))
		count++
		return written == nil && count != *limit
	}, func(c *storage.CorruptionError) {
		skipped++
		fmt.Fprintf(p.stderr, "rookery log dump: passed over: %v\n", c)
	})
	if written == nil {
		written = out.Flush()
	}
	switch {
	case err != nil:
		return p.fail("log dump", err)
	case written != nil:
		return p.fail("log dump", written)
	case skipped > 0:
		return exitFailed
	}
	return exitOK
}

// segmentOf gives the beginning of the segment that holds a position: a scan begins where a record does.
func segmentOf(v *commitlog.View, at int64) int64 {
	base := int64(0)
	for _, s := range v.Segments() {
		if s.Base <= at {
			base = s.Base
		}
	}
	return base
}

func dump(e commitlog.Entry) dumped {
	r := &e.Record
	line := dumped{Position: e.Position, Room: r.Room, Seq: r.Seq, At: r.At, Stub: e.Stub, From: r.From, Key: r.Key}
	if e.Stub {
		return line
	}
	if value, isText, plain := proto.ReadContent(r.Body); plain && isText {
		text := string(value)
		line.Text = &text
		return line
	} else if plain {
		line.Data = value
		return line
	}
	if says, ok := proto.AppendContentJSON(nil, r.Body); ok {
		line.Says = says
		return line
	}
	line.Body = r.Body
	return line
}
