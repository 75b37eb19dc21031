package proto

import (
	"strings"
	"testing"

	pb "google.golang.org/protobuf/proto"

	v1 "rookery/proto/rookery/v1"
)

func TestErrorTable(t *testing.T) {
	names := map[string]bool{}
	for _, e := range Errors() {
		if names[e.Name] {
			t.Errorf("%s is there twice: a client branches on the name", e.Name)
		}
		names[e.Name] = true
		if !snakeCase(e.Name) {
			t.Errorf("%q is no name in snake_case", e.Name)
		}
		if e.Code < 400 || e.Code > 599 {
			t.Errorf("%s has code %d, which is no class of error", e.Name, e.Code)
		}
		if e.Retry && e.Code < 429 {
			t.Errorf("%s (%d) asks for a retry of what is wrong in itself", e.Name, e.Code)
		}
	}
}

func TestCloseTable(t *testing.T) {
	names, codes := map[string]bool{}, map[uint16]bool{}
	for _, c := range CloseCodes() {
		if names[c.Name] || codes[c.Code] {
			t.Errorf("%d %s is there twice", c.Code, c.Name)
		}
		names[c.Name], codes[c.Code] = true, true
		if !snakeCase(c.Name) || len(c.Name) > 123 {
			t.Errorf("%q is no name in snake_case that fits a Close frame", c.Name)
		}
		// RFC 6455 7.4.2: 4000 to 4999 are for private use.
		if c.Code > 1011 && (c.Code < 4000 || c.Code > 4999) {
			t.Errorf("%d %s is not in a range that we may use", c.Code, c.Name)
		}
	}
}

func snakeCase(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && !strings.HasPrefix(s, "_")
}

func TestReconnect(t *testing.T) {
	for _, c := range []struct {
		code uint16
		want bool
	}{
		{0, true}, {1000, true}, {1001, true}, {1005, true}, {1006, true}, {1011, true}, {1012, true}, {1013, true}, {1015, true},
		{1002, false}, {1003, false}, {1007, false}, {1009, false},
		{3000, true}, {3999, true},
		{4000, true}, {4006, true}, {4007, true}, {4499, true},
		{4500, false}, {4503, false}, {4999, false},
		{5000, true}, {65535, true},
	} {
		if got := Reconnect(c.code); got != c.want {
			t.Errorf("Reconnect(%d) is %v, want %v", c.code, got, c.want)
		}
	}
	// Our own codes say it by their range alone.
	for _, c := range CloseCodes() {
		if c.Code >= 4000 && Reconnect(c.Code) != (c.Code < 4500) {
			t.Errorf("%s: Reconnect(%d) contradicts its range", c.Name, c.Code)
		}
	}
}

func TestErrorFrame(t *testing.T) {
	got := ErrOverloaded.Frame(7, "Too much.")
	want := &v1.ServerFrame{Id: 7, Op: &v1.ServerFrame_Error{Error: &v1.Error{
		Code: 503, Name: "overloaded", Message: "Too much.", Retry: true,
	}}}
	if !pb.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestValidName(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		want bool
	}{
		{"empty", "", false},
		{"one byte", "a", true},
		{"blank", " ", true},
		{"longest", strings.Repeat("a", 128), true},
		{"too long", strings.Repeat("a", 129), false},
		{"longest in bytes, not characters", strings.Repeat("é", 64), true},
		{"too long in bytes", strings.Repeat("é", 65), false},
		{"four-byte characters", strings.Repeat("😀", 32), true},
		{"slash, star, quote", `team/*"`, true},
		{"line separator", "a\u2028", true},
		{"NUL", "a\x00", false},
		{"line feed", "a\nb", false},
		{"escape", "\x1b[2J", false},
		{"delete", "\x7f", false},
		{"control of Latin-1", "a\u0085", false},
		{"not UTF-8", "a\xff", false},
		{"half a character", "a\xe2\x82", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ValidName(c.in); got != c.want {
				t.Errorf("ValidName(%q) is %v, want %v", c.in, got, c.want)
			}
		})
	}
}
