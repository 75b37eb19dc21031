package framing

import (
	"net/netip"
	"strings"
	"testing"
)

// ours are the trusted addresses of these tests.
func ours(a netip.Addr) bool {
	return netip.MustParsePrefix("10.0.0.0/8").Contains(a) || netip.MustParsePrefix("2001:db8:1::/48").Contains(a)
}

func TestForwardedFor(t *testing.T) {
	cases := []struct {
		name   string
		fields []string
		want   string // "" is nobody
	}{
		{"no field", nil, ""},
		{"the client", []string{"192.0.2.7"}, "192.0.2.7"},
		{"IPv6", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv4 in IPv6", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"what the client wrote itself", []string{"1.1.1.1, 192.0.2.7"}, "192.0.2.7"},
		{"a trusted address that the client wrote itself", []string{"10.0.0.9, 192.0.2.7"}, "192.0.2.7"},
		{"rubbish that the client wrote itself", []string{"'; drop table, <b>, 192.0.2.7"}, "192.0.2.7"},
		{"through two proxies", []string{"192.0.2.7, 10.0.0.1"}, "192.0.2.7"},
		{"through three, and written by the client", []string{"1.1.1.1,192.0.2.7,10.0.0.1,2001:db8:1::5"}, "192.0.2.7"},
		{"in two fields", []string{"1.1.1.1", "192.0.2.7", "10.0.0.1"}, "192.0.2.7"},
		{"all are trusted", []string{"10.0.0.9, 10.0.0.1"}, "10.0.0.9"},
		{"with a port", []string{"192.0.2.7:51234"}, "192.0.2.7"},
		{"IPv6 with a port", []string{"[2001:db8::7]:51234"}, "2001:db8::7"},
		{"IPv6 in brackets", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"a zone", []string{"fe80::1%eth0"}, "fe80::1"},
		{"empty elements", []string{"192.0.2.7, , ", ""}, "192.0.2.7"},
		{"nothing in it", []string{""}, ""},
		{"no address", []string{"unknown"}, ""},
		{"no address at the right", []string{"192.0.2.7, unknown"}, ""},
		{"no address behind a proxy", []string{"192.0.2.7, unknown, 10.0.0.1"}, "10.0.0.1"},
		{"brackets around nothing", []string{"[]"}, ""},
		{"IPv4 in brackets", []string{"[192.0.2.7"}, ""},
		{"too long to be one", []string{strings.Repeat("1", 4000)}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			head := "GET /ws HTTP/1.1\r\nX-Forwarded-Fo: 9.9.9.9\r\nHost: x\r\n"
			for _, field := range c.fields {
				head += "x-FORWARDED-for:" + field + " \r\nX_Forwarded_For: 9.9.9.9\r\n"
			}
			want := netip.Addr{}
			if c.want != "" {
				want = netip.MustParseAddr(c.want)
			}
			if got := ForwardedFor([]byte(head+"\r\n"), ours); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// TestForwardedForIsNotInTheRequestLine: what a client asks for is no field.
func TestForwardedForIsNotInTheRequestLine(t *testing.T) {
	if got := ForwardedFor([]byte("X-Forwarded-For: 9.9.9.9\r\nHost: x\r\n\r\n"), ours); got.IsValid() {
		t.Errorf("%v", got)
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.1\r\n\r\n"))
	f.Add([]byte("\r\nX-Forwarded-For:[::1]:1,\r\nX-Forwarded-For: fe80::1%x\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		got := ForwardedFor(head, ours)
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("%v", got)
		}
		// Whatever stands in front of an address that is not trusted changes nothing.
		const ends = "192.0.2.7\r\n\r\n"
		forged := append([]byte("GET / HTTP/1.1\r\nX-Forwarded-For: "), head...)
		if got := ForwardedFor(append(forged, "\r\nX-Forwarded-For: "+ends...), ours); got.String() != "192.0.2.7" {
			t.Errorf("with a forged beginning %v", got)
		}
	})
}
