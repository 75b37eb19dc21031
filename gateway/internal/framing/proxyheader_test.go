package framing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// block is a header of version 2 by its figure: signature, version and command, family and transport, length, what follows.
func block(versionAndCommand, family byte, rest string) string {
	return proxySignature + string([]byte{versionAndCommand, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

// unhex reads bytes as they stand in figures, with spaces.
func unhex(text string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

var (
	// 192.0.2.7 to 198.51.100.1, ports 56324 and 443.
	inet = unhex("c0000207 c6336401 dc04 01bb")
	// 2001:db8::7 to 2001:db8::1.
	inet6 = unhex("20010db8000000000000000000000007 20010db8000000000000000000000001 dc04 01bb")
	// PP2_TYPE_CRC32C, PP2_TYPE_ALPN "h2", and PP2_TYPE_NOOP: 3 bytes and a value each.
	tlvs = unhex("03 0004 01020304 01 0002 6832 04 0001 00")
)

// proxyHeaders are whole ones, of the forms that the specification has. client "" is nobody.
var proxyHeaders = []struct {
	name, bytes, client string
}{
	{"1, IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7"},
	{"1, the longest of IPv4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"},
	{"1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"},
	{"1, the longest of IPv6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"1, IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 2\r\n", "192.0.2.7"},
	{"1, unknown", "PROXY UNKNOWN\r\n", ""},
	{"1, unknown with addresses, the longest there is", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", ""},
	{"2, IPv4", block(0x21, 0x11, inet), "192.0.2.7"},
	{"2, IPv4, datagrams", block(0x21, 0x12, inet), "192.0.2.7"},
	{"2, IPv4 and TLVs", block(0x21, 0x11, inet+tlvs), "192.0.2.7"},
	{"2, IPv4 and the most that is taken", block(0x21, 0x11, inet+strings.Repeat("x", maxProxyBlock-proxyFixed-12)), "192.0.2.7"},
	{"2, IPv6", block(0x21, 0x21, inet6), "2001:db8::7"},
	{"2, IPv6 and TLVs", block(0x21, 0x21, inet6+tlvs), "2001:db8::7"},
	{"2, IPv4 in IPv6", block(0x21, 0x21, unhex("00000000000000000000ffffc0000207 00000000000000000000ffffc6336401 dc04 01bb")), "192.0.2.7"},
	{"2, Unix", block(0x21, 0x31, strings.Repeat("\x00", 216)), ""},
	{"2, unspecified", block(0x21, 0x00, ""), ""},
	{"2, unspecified with a rest", block(0x21, 0x00, tlvs), ""},
	{"2, local", block(0x20, 0x00, ""), ""},
	{"2, local with addresses", block(0x20, 0x11, inet), ""},
	{"2, local of a family that is none", block(0x20, 0xff, tlvs), ""},
}

// TestProxyHeader: each header, wherever the bytes are cut, and with the first bytes of the client behind it.
func TestProxyHeader(t *testing.T) {
	for _, c := range proxyHeaders {
		t.Run(c.name, func(t *testing.T) {
			want := netip.Addr{}
			if c.client != "" {
				want = netip.MustParseAddr(c.client)
			}
			for cut := range len(c.bytes) {
				if client, n, err := ReadProxyHeader([]byte(c.bytes[:cut])); n != 0 || err != nil || client.IsValid() {
					t.Fatalf("of the first %d bytes %v, %d, %v; want more to be asked for", cut, client, n, err)
				}
			}
			for _, behind := range []string{"", "GET /ws HTTP/1.1\r\n", "\n"} {
				client, n, err := ReadProxyHeader([]byte(c.bytes + behind))
				if client != want || n != len(c.bytes) || err != nil {
					t.Errorf("with %q behind it %v, %d, %v; want %v, %d", behind, client, n, err, want, len(c.bytes))
				}
			}
			if !HasProxyHeader([]byte(c.bytes)) {
				t.Error("it is not known as one")
			}
		})
	}
}

func TestProxyHeaderFaults(t *testing.T) {
	cases := []struct {
		name, bytes string
		want        error
	}{
		{"HTTP", "GET / HTTP/1.1\r\n", ErrNoProxyHeader},
		{"a method with the same first letter", "POST / HTTP/1.1\r\n", ErrNoProxyHeader},
		{"raw TCP", "ROOKERY\x01", ErrNoProxyHeader},
		{"TLS", "\x16\x03\x01", ErrNoProxyHeader},
		{"in lower case", "proxy tcp4", ErrNoProxyHeader},
		{"a word that only begins so", "PROXYTCP4", ErrNoProxyHeader},
		{"a blank line", "\r\n\r\nGET", ErrNoProxyHeader},
		{"nearly the signature", "\r\n\r\n\x00\r\nQUIT\r", ErrNoProxyHeader},

		{"no line end within 107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 93), errProxyLine},
		{"line end at byte 108", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", errProxyLine},
		{"bare line feed", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n", errProxyLine},
		{"nothing", "PROXY \r\n", errProxyLine},
		{"family in lower case", "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n", errProxyLine},
		{"another family", "PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n", errProxyLine},
		{"nearly unknown", "PROXY UNKNOWNS\r\n", errProxyLine},
		{"IPv6 as TCP4", "PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n", errProxyLine},
		{"IPv4 as TCP6", "PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n", errProxyLine},
		{"one of each", "PROXY TCP4 192.0.2.7 2001:db8::1 56324 443\r\n", errProxyLine},
		{"a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 56324 443\r\n", errProxyLine},
		{"a name", "PROXY TCP4 localhost 198.51.100.1 56324 443\r\n", errProxyLine},
		{"leading zeros in an address", "PROXY TCP4 192.0.02.7 198.51.100.1 56324 443\r\n", errProxyLine},
		{"two blanks", "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n", errProxyLine},
		{"a blank at the end", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n", errProxyLine},
		{"no ports", "PROXY TCP4 192.0.2.7 198.51.100.1\r\n", errProxyLine},
		{"a port over 65535", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", errProxyLine},
		{"a port with a leading zero", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 0443\r\n", errProxyLine},
		{"a port with a sign", "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n", errProxyLine},

		// What is wrong in the fixed part must not wait for the rest, which is not here.
		{"version 1 in binary", proxySignature + "\x11\x11\x00\x0c", errProxyVersion},
		{"version 3", proxySignature + "\x31\x11\x00\x0c", errProxyVersion},
		{"command 2", proxySignature + "\x22\x11\x00\x0c", errProxyCommand},
		{"family 4", proxySignature + "\x21\x41\x00\x0c", errProxyFamily},
		{"transport 3", proxySignature + "\x21\x13\x00\x0c", errProxyFamily},
		{"IPv4 without a transport", proxySignature + "\x21\x10\x00\x0c", errProxyFamily},
		{"a transport without a family", proxySignature + "\x21\x01\x00\x00", errProxyFamily},
		{"IPv4 shorter than its addresses", proxySignature + "\x21\x11\x00\x0b", errProxyBlock},
		{"IPv6 shorter than its addresses", proxySignature + "\x21\x21\x00\x23", errProxyBlock},
		{"Unix shorter than its addresses", proxySignature + "\x21\x31\x00\xd7", errProxyBlock},
		{"a byte over the bound", proxySignature + "\x21\x11\x0f\xf1", errProxyLength},
		{"the longest there could be", proxySignature + "\x20\x00\xff\xff", errProxyLength},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if client, n, err := ReadProxyHeader([]byte(c.bytes)); !errors.Is(err, c.want) || n != 0 || client.IsValid() {
				t.Errorf("%v, %d, %v; want %v", client, n, err, c.want)
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.bytes))
		f.Add([]byte(c.bytes[:len(c.bytes)/2]))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		client, n, err := ReadProxyHeader(in)
		switch {
		case n < 0 || n > len(in) || n > maxProxyBlock:
			t.Fatalf("%d of %d bytes were taken", n, len(in))
		case err != nil && (n != 0 || client.IsValid()):
			t.Fatalf("%v, %d beside %v", client, n, err)
		case n == 0 && err == nil && len(in) >= maxProxyBlock:
			t.Fatalf("after %d bytes more are asked for", len(in))
		case client.IsValid() && (n == 0 || client.Is4In6() || client.Zone() != ""):
			t.Fatalf("client %v, %d", client, n)
		case !bytes.Equal(in, before):
			t.Fatal("the bytes were changed")
		}
		// A verdict must not change when more bytes come.
		if n > 0 || err != nil {
			again, size, same := ReadProxyHeader(append(before, "\r\n more"...))
			if again != client || size != n || !errors.Is(same, err) {
				t.Fatalf("with more behind it %v, %d, %v, and before %v, %d, %v", again, size, same, client, n, err)
			}
		}
	})
}
