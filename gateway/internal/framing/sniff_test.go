package framing

import (
	"testing"

	"rookery/proto"
)

func TestSniff(t *testing.T) {
	cases := []struct {
		name string
		in   string
		want Protocol
	}{
		{"nothing", "", NeedMore},
		{"first letter of GET", "G", NeedMore},
		{"P may be POST, PUT or PATCH", "P", NeedMore},
		{"GET without its space", "GET", NeedMore},
		{"GET", "GET ", HTTP},
		{"GET with more", "GET /ws HTTP/1.1\r\n", HTTP},
		{"POST", "POST ", HTTP},
		{"HEAD", "HEAD ", HTTP},
		{"OPTIONS", "OPTIONS ", HTTP},
		{"PUT", "PUT ", HTTP},
		{"DELETE", "DELETE ", HTTP},
		{"PATCH", "PATCH ", HTTP},
		{"CONNECT", "CONNECT ", HTTP},
		{"TRACE", "TRACE ", HTTP},
		{"longer than a method", "GETS", Unknown},
		{"method in lower case", "get ", Unknown},
		{"HTTP/2", "PRI * HTTP/2.0\r\n", Unknown},
		{"first letter of the preface", "R", NeedMore},
		{"preface without its version", "ROOKERY", NeedMore},
		{"preface", "ROOKERY\x01", TCP},
		{"preface and a frame", "ROOKERY\x01\x00", TCP},
		{"next version", "ROOKERY\x02", UnsupportedVersion},
		{"version zero", "ROOKERY\x00", UnsupportedVersion},
		{"nearly the preface", "ROOKIE", Unknown},
		{"wrong last letter of the preface", "ROOKERX\x01", Unknown},
		{"TLS", "\x16\x03\x01", Unknown},
		{"TLS at its first byte", "\x16", Unknown},
		{"SSH", "SSH-2.0-", Unknown},
		{"blank line", "\r\n", Unknown},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Sniff([]byte(c.in)); got != c.want {
				t.Errorf("Sniff(%q) = %d, want %d", c.in, got, c.want)
			}
		})
	}
}

// A verdict must not change when more bytes come.
func TestSniffKeepsItsVerdict(t *testing.T) {
	for _, whole := range []string{
		"GET /ws HTTP/1.1", "DELETE /x", "PATCHES", "ROOKERY\x01abc", "ROOKERY\x07abc", "ROOKIES", "CONNECTED",
	} {
		final := Sniff([]byte(whole))
		if final == NeedMore {
			t.Fatalf("Sniff(%q) is undecided", whole)
		}
		for cut := range whole {
			if got := Sniff([]byte(whole[:cut])); got != NeedMore && got != final {
				t.Errorf("Sniff(%q) = %d, but %d for %q", whole[:cut], got, final, whole)
			}
		}
	}
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1"))
	f.Add([]byte(proto.Preface))
	f.Add([]byte("ROOK"))
	f.Fuzz(func(t *testing.T, in []byte) {
		final := Sniff(in)
		for cut := range min(len(in), 16) {
			if got := Sniff(in[:cut]); got != NeedMore && got != final {
				t.Errorf("Sniff(%q) = %d, but %d for %q", in[:cut], got, final, in)
			}
		}
		if len(in) >= 8 && final == NeedMore {
			t.Errorf("Sniff(%q) is undecided after %d bytes", in, len(in))
		}
	})
}

func TestFromBrowser(t *testing.T) {
	const stun = "\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl"
	for in, want := range map[string]bool{
		"": false, "\x16": false, "\x16\x03": true, "\x16\x03\x01\x02\x00\x01": true, "\x15\x03\x01": false,
		stun: true, stun[:8]: true, stun[:7]: false, "\x00\x1c" + stun: true, "\x00\x1c\x00" + stun: false, "\x40" + stun[1:]: false,
		"\x80\x46\x01\x03\x01\x00\x2d": true, "\x80\x46\x01\x03\x00": false,
		"SSH-2.0-": false, "EHLO x\r\n": false, "PROXY TCP4 ": false, "ROOKIE": false,
	} {
		if got := FromBrowser([]byte(in)); got != want {
			t.Errorf("FromBrowser(%q) = %v, want %v", in, got, want)
		}
	}
}
