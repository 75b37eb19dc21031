package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/commitlog"
)

// makeLog is "makelog DIR COUNT" in a script: it appends COUNT messages to each of the rooms lobby and hall, a
// second apart from 2026-01-02T03:04:05Z on, in segments of 4 KiB, and closes the log.
func makeLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: makelog DIR COUNT")
	}
	var count int
	_, err := fmt.Sscan(args[1], &count)
	ts.Check(err)
	l, err := commitlog.Open(commitlog.Config{Dir: ts.MkAbs(args[0]), SegmentBytes: 4 << 10, Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	reports := make(chan error, 2*count)
	producer := l.NewProducer(func(n int, err error) {
		for range n {
			reports <- err
		}
	})
	for i := range count {
		for _, room := range []string{"lobby", "hall"} {
			seq := l.Head(room) + 1
			content := &v1.Publish{Content: &v1.Publish_Text{Text: fmt.Sprintf("message %d <in> %s", seq, room)}}
			ts.Check(producer.Append(storage.Record{
				Room: room, Seq: seq, At: 1767323045000 + int64(seq-1)*1000, From: "alice", Key: fmt.Sprint("key-", i), Body: proto.AppendContent(nil, content),
			}))
			ts.Check(<-reports)
		}
	}
	ts.Check(l.Close())
}

// flipByte is "flip FILE OFFSET" in a script: it changes a bit of a byte, and follows no hard link.
func flipByte(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	var offset int
	_, err := fmt.Sscan(args[1], &offset)
	ts.Check(err)
	matches, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(matches) != 1 {
		ts.Fatalf("flip %s: %d files have such a name", args[0], len(matches))
	}
	b, err := os.ReadFile(matches[0])
	ts.Check(err)
	b[offset] ^= 0x10
	ts.Check(os.Remove(matches[0]))
	ts.Check(os.WriteFile(matches[0], b, 0o600))
}
