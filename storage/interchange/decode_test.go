package interchange

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"

	"rookery/storage"
)

const aMessage = `{"kind":"message","position":64,"room":"lobby","seq":1,"at":5,"from":"bob","text":"hi"}`

func decodeLine(text string) (line, error) {
	var l line
	err := newDecoder(protoContents{}).decode(&l, []byte(text))
	return l, err
}

// TestDecodeForms reads what we would write otherwise.
func TestDecodeForms(t *testing.T) {
	for _, line := range []string{
		` { "text" : "hi" , "seq" : 1, "at":5,"from":"bob" ,	"room":"lobby","position":64,"kind":"message" } ` + "\r\n",
		`{"kind":"message","position":64,"room":"\u006c\u006Fbby","seq":1,"at":5,"from":"bob","text":"\u0068i"}`,
		`{"kind":"message","position":64,"roomBase64":"bG9iYnk=","seq":1,"at":5,"fromBase64":"Ym9i","keyBase64":"","text":"hi"}`,
		`{"kind":"message","position":64,"room":"lobby","seq":1,"at":5,"from":"bob","key":"","body":"KgJoaQ=="}`,
		`{"x-note":{"a":[1,2.5e3,"}"],"b":null},"kind":"message","position":64,"room":"lobby","seq":1,"at":5,"from":"bob","text":"hi","x-":"` + `\"` + `"}`,
	} {
		l, err := decodeLine(line)
		want := storage.Record{Room: "lobby", Seq: 1, At: 5, From: "bob", Body: text("hi")}
		if err != nil || l.kind != kindMessage || l.Position != 64 || !sameRecord(&l.Record, &want) {
			t.Errorf("%s\ngot %+v, %v", line, l, err)
		}
	}
	l, err := decodeLine(strings.Replace(aMessage, `"hi"`, `"\ud83d\ude00\/\b\f\n\r\t\\\"\u0000"`, 1))
	if want := text("😀/\b\f\n\r\t\\\"\x00"); err != nil || !bytes.Equal(l.Record.Body, want) {
		t.Errorf("escapes: got %q, %v", l.Record.Body, err)
	}
	l, err = decodeLine(`{"kind":"message","position":9223372036854775807,"room":"a","seq":9007199254740991,"at":-9223372036854775808,"from":"b","body":""}`)
	if err != nil || l.Position != 1<<63-1 || l.Record.Seq != storage.MaxSeq || l.Record.At != -1<<63 {
		t.Errorf("large numbers: got %+v, %v", l, err)
	}
	if l, err := decodeLine(`{"kind":"x-note","x-by":"me"}`); err != nil || l.kind != kindIgnored {
		t.Errorf("a line of somebody else's: %+v, %v", l, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	replaced := func(old, new string) string { return strings.Replace(aMessage, old, new, 1) }
	long := strings.Repeat("n", 129)
	for _, c := range []struct{ line, want string }{
		{``, "cut short"},
		{`{}`, "kind is missing"},
		{`null`, `'n' at column 1, want '{'`},
		{`[` + aMessage + `]`, `'[' at column 1, want '{'`},
		{aMessage + "x", "behind the object"},
		{aMessage + aMessage, "behind the object"},
		{aMessage[:40], "cut short"},
		{replaced(`"seq":1`, `"seq":1,`), `',' at column 56, want '"'`},
		{replaced(`"seq":1,`, `"seq":1 `), `'"' at column`},
		{replaced(`"message"`, `"massage"`), `kind "massage" is not known: use a newer version`},
		{replaced(`"message"`, `7`), `want '"'`},
		{replaced(`"text"`, `"Text"`), `field "Text" is not known`},
		{replaced(`"text"`, `"x-text"`), "it has 0 of the fields text, data, body"},
		{replaced(`"text"`, `"body":"","text"`), "it has 2 of the fields text, data, body"},
		{replaced(`"seq":1`, `"seq":1,"seq":1`), "seq: field is there twice"},
		{replaced(`"seq":1,`, ``), "fields are missing: seq"},
		{replaced(`"seq":1`, `"seq":1,"roomBase64":"YQ=="`), "it has 2 of the fields room, roomBase64"},
		{replaced(`"seq":1`, `"seq":1,"key":"a","keyBase64":"YQ=="`), "more than one of the fields key, keyBase64"},
		{replaced(`"seq":1`, `"seq":1,"first":2,"last":3`), "fields do not belong to this kind: first, last"},
		{replaced(`"seq":1`, `"seq":0`), "seq is 0"},
		{replaced(`"seq":1`, `"seq":-1`), "out of range"},
		{replaced(`"seq":1`, `"seq":18446744073709551616`), "out of range"},
		{replaced(`"seq":1`, `"seq":01`), "begins with 0"},
		{replaced(`"seq":1`, `"seq":1.0`), "not a whole number"},
		{replaced(`"seq":1`, `"seq":1e3`), "not a whole number"},
		{replaced(`"seq":1`, `"seq":"1"`), "not a whole number"},
		{replaced(`"seq":1`, `"seq":null`), "not a whole number"},
		{replaced(`"at":5`, `"at":9223372036854775808`), "out of range"},
		{replaced(`"at":5`, `"at":-9223372036854775809`), "out of range"},
		{replaced(`"at":5`, `"at":-`), "not a whole number"},
		{replaced(`"at":5`, `"at":5-5`), "not a whole number"},
		{replaced(`"position":64`, `"position":-1`), "position: -1 is under 0"},
		{replaced(`"lobby"`, `""`), "name of the room has 0 bytes"},
		{replaced(`"lobby"`, `"`+long+`"`), "name of the room has 129 bytes"},
		{replaced(`"lobby"`, `"\u0001lobby"`), "does not go with the kind message"},
		{replaced(`"bob"`, `""`), "name of the user has 0 bytes"},
		{replaced(`"bob"`, `"`+long+`"`), "name of the user has 129 bytes"},
		{replaced(`"seq":1`, `"seq":1,"key":"`+long+`"`), "key has 129 bytes"},
		{replaced(`"hi"`, `"`+strings.Repeat("x", storage.MaxBody)+`"`), "at most 1048576 fit"},
		{replaced(`"hi"`, "\"h\ti\""), "control characters are escaped"},
		{replaced(`"hi"`, "\"h\xff\""), "not UTF-8"},
		{replaced(`"hi"`, "\"\\n\xff\""), "not UTF-8"},
		{replaced(`"hi"`, `"\x41"`), `escape \x at column`},
		{replaced(`"hi"`, `"\u12g4"`), "no four hexadecimal digits"},
		{replaced(`"hi"`, `"\ud83d"`), "half of a surrogate pair"},
		{replaced(`"hi"`, `"\ud83dx"`), "half of a surrogate pair"},
		{replaced(`"hi"`, `"\ud83d\u0041"`), "half of a surrogate pair"},
		{replaced(`"hi"`, `"\ude00"`), "half of a surrogate pair"},
		{replaced(`"text":"hi"`, `"data":"a"`), "is not base64"},
		{replaced(`"text":"hi"`, `"data":"YR=="`), "is not base64"},
		{replaced(`"text":"hi"`, `"data":"_-8="`), "is not base64"},
		{strings.Replace(replaced(`"message"`, `"system"`), `"lobby"`, `"\u0001lobby"`, 1), "fields are missing: body"},
		{replaced(`"text":"hi"`, `"x-a":tru`), "value at column"},
		{`{"kind":"begin","room":"a","first":1}`, "first is 1"},
		{`{"kind":"gap","room":"a","first":5,"last":4}`, "gap from 5 to 4"},
		{`{"kind":"damaged"}`, "fields are missing: what"},
		{`{"kind":"x-note","room":"a"}`, "do not belong to this kind: room"},
		{`{"kind":"header","format":"rookery export","version":2,"new":1}`, `field "new" is not known: use a newer version`},
		{`{"kind":"header","format":"rookery export","version":2}`, "version of the format is 2, this rookery knows 1"},
		{`{"kind":"header","format":"rookery","version":1}`, `"rookery", want "rookery export"`},
	} {
		l, err := decodeLine(c.line)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.300s\ngot %+v, %v, want %s", c.line, l.kind, err, c.want)
		}
	}
}

// TestReadFile: what holds the lines together.
func TestReadFile(t *testing.T) {
	source := &fake{}
	for seq := range uint64(3) {
		source.entries = append(source.entries, entry("a", seq+1))
	}
	whole := mustExport(t, source, ExportConfig{})
	lines := strings.SplitAfter(whole, "\n")
	for name, c := range map[string]struct {
		file string
		want string
	}{
		"whole":                  {whole, "EOF"},
		"without last line feed": {whole[:len(whole)-1], "EOF"},
		"lines of others":        {lines[0] + `{"kind":"x-note","x-a":{}}` + "\n" + strings.Join(lines[1:4], ""), ErrCutShort.Error()},
		"empty":                  {"", ErrCutShort.Error()},
		"cut":                    {strings.Join(lines[:3], ""), ErrCutShort.Error()},
		"cut in a line":          {whole[:len(lines[0])+20], ErrCutShort.Error()},
		"cut behind a whole line without its line feed": {whole[:len(lines[0])+len(lines[1])-1], ErrCutShort.Error()},
		"something else":     {"hello\n", "line 1: " + errNoHeader.Error()},
		"without its header": {strings.Join(lines[1:], ""), "line 1: " + errNoHeader.Error()},
		"two headers":        {lines[0] + lines[0], "line 2: " + errHeaders.Error()},
		"two exports":        {whole + whole, "line 6: " + errBehindEnd.Error()},
		"an empty line":      {lines[0] + "\n" + lines[1], "line 2: " + errLineEnds.Error()},
		"a line less":        {lines[0] + lines[1] + lines[3] + lines[4], "line 4: the footer counts 4 lines before it, there are 3"},
		"a letter changed":   {strings.Replace(whole, "message 2", "massage 2", 1), "line 5: the footer's checksum is"},
		"a line too long":    {lines[0] + strings.Repeat("x", maxLineBytes+1) + "\n", "line 2: " + errLongLine.Error()},
	} {
		r := newReader(strings.NewReader(c.file), protoContents{})
		var err error
		for err == nil {
			var l line
			err = r.next(&l)
		}
		if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if r := newReader(io.MultiReader(strings.NewReader(lines[0]), &failingReader{}), protoContents{}); r.next(&line{}) != nil {
		t.Error("the header was not read")
	} else if err := r.next(&line{}); err == nil || err.Error() != "read line 2: no space left on device" {
		t.Errorf("a failed read: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errNoRoom }

// TestLongestLine: a body of the largest size fits, in its longest form.
func TestLongestLine(t *testing.T) {
	body := content(bytes.Repeat([]byte{1}, storage.MaxBody-4), true)
	name := strings.Repeat("\x02", storage.MaxName)
	record := storage.Record{Room: name, Seq: storage.MaxSeq, At: -1 << 63, From: name, Key: name, Body: body}
	e := encoder{contents: protoContents{}}
	line := e.append(nil, &line{kind: kindMessage, Position: 1<<63 - 1, Record: record})
	if len(body) != storage.MaxBody || len(line) > maxLineBytes || len(line) < 6*storage.MaxBody {
		t.Errorf("the longest line has %d bytes", len(line))
	}
	if l, err := decodeLine(string(line)); err != nil || !sameRecord(&l.Record, &record) {
		t.Errorf("it is read as another one: %v", err)
	}
}

// FuzzDecodeLine: whatever decodes is the same after it was encoded.
func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(aMessage))
	for _, line := range []string{
		`{"kind":"header","format":"rookery export","version":1,"log":"0","epoch":"7f3a","start":0,"at":1,"rooms":["a","b*"],"user":"bob"}`,
		`{"kind":"message","position":1,"roomBase64":"/w==","seq":1,"at":-1,"from":"\u00e9","keyBase64":"/w==","data":"/w=="}`,
		`{"kind":"system","position":1,"room":"\u0001catalog","seq":1,"at":1,"from":"r","body":"KgJoaQ=="}`,
		`{"kind":"begin","room":"a","first":2}`,
		`{"kind":"gap","room":"a","first":2,"last":3}`,
		`{"kind":"damaged","file":"a.log","offset":64,"what":"torn","x-n":[{}]}`,
		`{"kind":"damaged","file":"","offset":64,"what":"torn"}`,
		`{"kind":"footer","lines":1,"damaged":0,"end":64,"checksum":"00000000"}`,
		`{"kind":"x-note"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		untouched := bytes.Clone(in)
		d := newDecoder(protoContents{})
		var l, again line
		err := d.decode(&l, in)
		if !bytes.Equal(in, untouched) {
			t.Fatalf("decoding changed the input from %q to %q", untouched, in)
		}
		if err != nil || l.kind == kindIgnored {
			return
		}
		e := encoder{contents: protoContents{}}
		line := e.append(nil, &l)
		if err := d.decode(&again, line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !sameRecord(&l.Record, &again.Record) {
			t.Fatalf("%q came back as %+v, want %+v", line, again, l)
		}
		l.Record, again.Record = storage.Record{}, storage.Record{}
		if !reflect.DeepEqual(l, again) {
			t.Fatalf("%q came back as %+v, want %+v", line, again, l)
		}
		if second := e.append(nil, &again); l.kind == kindHeader && !bytes.Equal(second, line) {
			t.Fatalf("%q is written as %q the second time", line, second)
		}
	})
}

// TestLineBudget: neither direction makes garbage beyond what the log keeps of a record.
func TestLineBudget(t *testing.T) {
	e := encoder{contents: protoContents{}}
	l := line{kind: kindMessage, Position: 64, Record: message("lobby", 7, text("hello \"you\" é"))}
	buffer := e.append(nil, &l)
	if n := testing.AllocsPerRun(100, func() { buffer = e.append(buffer[:0], &l) }); n > 0 {
		t.Errorf("encoding takes %v allocations, want none", n)
	}
	d := newDecoder(protoContents{})
	var back line
	if n := testing.AllocsPerRun(100, func() {
		if err := d.decode(&back, buffer); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("decoding takes %v allocations, want the key and one for the field", n)
	}
}
