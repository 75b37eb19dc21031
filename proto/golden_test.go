package proto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	pb "google.golang.org/protobuf/proto"

	v1 "rookery/proto/rookery/v1"
)

var update = flag.Bool("update", false, "write testdata/frames.txt anew from its JSON readings")

const goldenPath = "testdata/frames.txt"

// A golden vector: direction, the frame without its length in hexadecimal, its JSON form.
type golden struct{ name, direction, hex, json string }

func readGolden(t testing.TB) []golden {
	t.Helper()
	f, err := os.Open(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []golden
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, "\t", 4)
		if len(parts) != 4 {
			t.Fatalf("%s: not four fields: %q", goldenPath, line)
		}
		all = append(all, golden{parts[0], parts[1], parts[2], parts[3]})
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no vectors", goldenPath)
	}
	return all
}

func newFrame(direction string) pb.Message {
	if direction == "client" {
		return &v1.ClientFrame{}
	}
	return &v1.ServerFrame{}
}

// appendFrame writes the frame with its length.
func appendFrame(dst []byte, c Codec, f pb.Message) []byte {
	switch f := f.(type) {
	case *v1.ClientFrame:
		return AppendClientFrame(dst, c, f)
	case *v1.ServerFrame:
		return AppendServerFrame(dst, c, f)
	}
	panic("not a frame")
}

func TestGolden(t *testing.T) {
	vectors := readGolden(t)
	if *update {
		writeGolden(t, vectors)
		vectors = readGolden(t)
	}
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			want, err := hex.DecodeString(v.hex)
			if err != nil {
				t.Fatal(err)
			}
			fromJSON, fromBinary := newFrame(v.direction), newFrame(v.direction)
			if err := jsonIn.Unmarshal([]byte(v.json), fromJSON); err != nil {
				t.Fatalf("read JSON: %v", err)
			}
			if err := pb.Unmarshal(want, fromBinary); err != nil {
				t.Fatalf("read binary: %v", err)
			}
			if !pb.Equal(fromJSON, fromBinary) {
				t.Fatalf("binary and JSON say different things:\n%v\n%v", fromBinary, fromJSON)
			}
			frame, rest, err := Next(Binary, appendFrame(nil, Binary, fromJSON))
			if err != nil || len(rest) != 0 {
				t.Fatalf("Next: %v, %d bytes left", err, len(rest))
			}
			if !bytes.Equal(frame, want) {
				t.Errorf("binary form\n got %x\nwant %x", frame, want)
			}
			if got := string(appendFrame(nil, JSON, fromBinary)); got != v.json+"\n" {
				t.Errorf("JSON form\n got %s\nwant %s", got, v.json)
			}
			// The codec of the outside world reads what we write.
			outside := newFrame(v.direction)
			if err := protojson.Unmarshal([]byte(v.json), outside); err != nil || !pb.Equal(outside, fromBinary) {
				t.Errorf("protojson reads something else: %v, %v", outside, err)
			}
		})
	}
}

func TestGoldenCoversEveryOperation(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range readGolden(t) {
		f := newFrame(v.direction)
		if err := jsonIn.Unmarshal([]byte(v.json), f); err != nil {
			t.Fatal(err)
		}
		m := f.ProtoReflect()
		if op := m.WhichOneof(m.Descriptor().Oneofs().ByName("op")); op != nil {
			seen[v.direction+" "+string(op.Name())] = true
		}
	}
	for _, direction := range []string{"client", "server"} {
		fields := newFrame(direction).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
		for i := range fields.Len() {
			if name := direction + " " + string(fields.Get(i).Name()); !seen[name] {
				t.Errorf("no golden vector for %s", name)
			}
		}
	}
}

func writeGolden(t *testing.T, vectors []golden) {
	var out strings.Builder
	out.WriteString(goldenComment)
	for _, v := range vectors {
		f := newFrame(v.direction)
		if err := jsonIn.Unmarshal([]byte(v.json), f); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		frame, _, _ := Next(Binary, appendFrame(nil, Binary, f))
		text := strings.TrimSuffix(string(appendFrame(nil, JSON, f)), "\n")
		fmt.Fprintf(&out, "%s\t%s\t%x\t%s\n", v.name, v.direction, frame, text)
	}
	if err := os.WriteFile(goldenPath, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

const goldenComment = `# Golden vectors of the frames, read by the Go and the JavaScript tests alike.
# Name, direction, the frame without its length in hexadecimal, the same frame in JSON;
# separated by tabs. To add one, write a line with any hexadecimal and run
#   go test ./proto -run TestGolden -update
`

// readBinary returns the binary form of one vector.
func readBinary(t testing.TB, name string) []byte {
	t.Helper()
	for _, v := range readGolden(t) {
		if v.name == name {
			b, err := hex.DecodeString(v.hex)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("%s has no vector %s", goldenPath, name)
	return nil
}
