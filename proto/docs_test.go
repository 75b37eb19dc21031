package proto

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "rookery/proto/rookery/v1"
)

const (
	protocolPath = "../docs/protocol.md"
	changesPath  = "../docs/changes.md"
	syncPath     = "../docs/sync.md"
)

// examplePages are those that show frames: together all of them.
var examplePages = []string{protocolPath, changesPath, "../docs/rooms.md", syncPath, "../docs/presence.md", "../docs/push.md"}

func readProtocol(t *testing.T) string { return readPage(t, protocolPath) }

func readPage(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns the lines under a heading of the second level.
func section(t *testing.T, heading string) []string {
	t.Helper()
	_, after, found := strings.Cut(readProtocol(t), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", protocolPath, heading)
	}
	body, _, _ := strings.Cut(after, "\n## ")
	return strings.Split(body, "\n")
}

var codeRow = regexp.MustCompile("^\\| (\\d+) \\| `([a-z0-9_]+)` \\| (yes|no) \\| (.+) \\|$")

// tableRows returns "code name yes|no" for the rows of a section's table.
func tableRows(t *testing.T, heading string) []string {
	t.Helper()
	var rows []string
	for _, line := range section(t, heading) {
		if m := codeRow.FindStringSubmatch(line); m != nil {
			rows = append(rows, strings.Join(m[1:4], " "))
		}
	}
	return rows
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func TestDocumentedErrors(t *testing.T) {
	var want []string
	for _, e := range Errors() {
		want = append(want, fmt.Sprintf("%d %s %s", e.Code, e.Name, yesNo(e.Retry)))
	}
	compareRows(t, "Errors", want)
}

func TestDocumentedCloseCodes(t *testing.T) {
	var want []string
	for _, c := range CloseCodes() {
		want = append(want, fmt.Sprintf("%d %s %s", c.Code, c.Name, yesNo(Reconnect(c.Code))))
	}
	compareRows(t, "Close codes", want)
}

// compareRows wants the rows in any order, each once.
func compareRows(t *testing.T, heading string, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, row := range tableRows(t, heading) {
		count[row]++
	}
	for _, row := range want {
		if count[row] != 1 {
			t.Errorf("%s, %q: the row %q is there %d times, want once", protocolPath, heading, row, count[row])
		}
		delete(count, row)
	}
	for row := range count {
		t.Errorf("%s, %q: the row %q is not in the code", protocolPath, heading, row)
	}
}

func TestDocumentedLimits(t *testing.T) {
	text := strings.Join(section(t, "Limits"), "\n")
	for _, want := range []string{
		fmt.Sprintf("| name of a room or a user | 1 to %d bytes", MaxName),
		fmt.Sprintf("| retry key, key of an ephemeral message | %d bytes", MaxKey),
		fmt.Sprintf("| messages in a history page | %d, and %d when none", MaxHistory, DefaultHistory),
		fmt.Sprintf("| bytes in a history page | %d KiB", MaxPageBytes>>10),
		fmt.Sprintf("by default, %d MiB at most", MaxFrameBytes>>20),
		"| integers | 2^53-1 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q any more", protocolPath, want)
		}
	}
	page := readPage(t, changesPath)
	for _, want := range []string{
		fmt.Sprintf("| users that a message mentions | %d |", MaxMentions),
		fmt.Sprintf("| `kind`, a reaction | %d bytes |", MaxKind),
		fmt.Sprintf("| different reactions of a message | %d, and %d of one user |", MaxReactions, MaxUserReactions),
		fmt.Sprintf("| edits of a message | %d |", MaxEdits),
		fmt.Sprintf("| pinned messages of a room | %d |", MaxPins),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s does not say %q any more", changesPath, want)
		}
	}
	page = readPage(t, syncPath)
	for _, want := range []string{
		fmt.Sprintf("| rooms in a page | %d, also when none", MaxSyncRooms),
		fmt.Sprintf("| messages of a room | %d;", MaxSyncMessages),
		fmt.Sprintf("counted up to %d |", MaxMentionCount),
		fmt.Sprintf("ends at %d KiB", MaxPageBytes>>10),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s does not say %q any more", syncPath, want)
		}
	}
	if MaxKind != MaxReaction {
		t.Errorf("a kind has %d bytes, a reaction %d, and %s has one row for both", MaxKind, MaxReaction, changesPath)
	}
	if MaxInteger != 1<<53-1 {
		t.Errorf("MaxInteger is %d", MaxInteger)
	}
}

// TestDocumentedExamples reads every frame on the pages as strictly as it can be read, and
// looks for one of each operation.
func TestDocumentedExamples(t *testing.T) {
	missing := map[string]bool{}
	for direction, f := range map[string]protoreflect.Message{"client": (&v1.ClientFrame{}).ProtoReflect(), "server": (&v1.ServerFrame{}).ProtoReflect()} {
		ops := f.Descriptor().Oneofs().ByName("op").Fields()
		for i := range ops.Len() {
			missing[direction+" "+string(ops.Get(i).Name())] = true
		}
	}
	for _, page := range examplePages {
		readExamples(t, page, missing)
	}
	for op := range missing {
		t.Errorf("%v have no example of the %s operation", examplePages, op)
	}
}

// readExamples reads the frames of a page, and takes what they show from what is missing.
func readExamples(t *testing.T, page string, missing map[string]bool) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		direction := "client"
		text, found := strings.CutPrefix(line, "→ ")
		if !found {
			direction = "server"
			if text, found = strings.CutPrefix(line, "← "); !found {
				continue
			}
		}
		f := newFrame(direction)
		if err := protojson.Unmarshal([]byte(text), f); err != nil {
			t.Errorf("%s:%d: %v", page, i+1, err)
			continue
		}
		m := f.ProtoReflect()
		if op := m.WhichOneof(m.Descriptor().Oneofs().ByName("op")); op != nil {
			delete(missing, direction+" "+string(op.Name()))
		}
		// The page says that it shows frames as they stand on the wire.
		if written := string(appendJSON(nil, m)); direction == "server" && written != text {
			t.Errorf("%s:%d: the server would write\n%s", page, i+1, written)
		}
	}
}
