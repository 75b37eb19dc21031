package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The key and its answer are the example of RFC 6455 1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

var requiredFields = []string{
	"Host: localhost",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: " + sampleKey,
	"Sec-WebSocket-Version: 13",
}

func request(line string, fields []string) string {
	return line + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

func handshake() string { return request("GET /echo HTTP/1.1", requiredFields) }

// with is a handshake in which the field of the same name is replaced; a field without a
// colon is left out, and one of a new name is added.
func with(field string) string {
	name, _, keep := strings.Cut(field, ":")
	fields := slices.DeleteFunc(slices.Clone(requiredFields), func(f string) bool {
		return strings.HasPrefix(f, name+":")
	})
	if keep {
		fields = append(fields, field)
	}
	return request("GET /echo HTTP/1.1", fields)
}

func without(name string) string { return with(name) }

type handshakeCase struct {
	name   string
	send   string
	status []int             // accepted
	fields map[string]string // "" must be absent
}

func handshakeCases() []handshakeCase {
	switching := []int{http.StatusSwitchingProtocols}
	bad := []int{http.StatusBadRequest}
	refused := []int{http.StatusBadRequest, http.StatusUpgradeRequired}
	reversed := slices.Clone(requiredFields)
	slices.Reverse(reversed)
	padding := headerLimit - len(with("X-Padding: "))

	return []handshakeCase{
		{"4.2.2 accepted", handshake(), switching, map[string]string{
			"Sec-WebSocket-Accept": sampleAccept, "Sec-WebSocket-Protocol": "", "Sec-WebSocket-Extensions": "",
		}},
		{"4.2.2 accept follows the key", with("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="), switching, map[string]string{"Sec-WebSocket-Accept": "OfS0wDaT5NoxF2gqm7Zj2YtetzM="}},
		{"4.2.1 fields in another order", request("GET /echo HTTP/1.1", reversed), switching, nil},
		{"4.2.1 other fields are passed over", with("X-Other: a, b; c=\"d\""), switching, nil},
		{"4.2.1 names in small letters", strings.NewReplacer("Host", "host", "Upgrade:", "upgrade:", "Connection:", "connection:", "Sec-WebSocket-", "sec-websocket-").Replace(handshake()), switching, map[string]string{"Sec-WebSocket-Accept": sampleAccept}},
		{"4.2.1 names in capitals", strings.NewReplacer("Host", "HOST", "Upgrade:", "UPGRADE:", "Connection:", "CONNECTION:", "Sec-WebSocket-", "SEC-WEBSOCKET-").Replace(handshake()), switching, map[string]string{"Sec-WebSocket-Accept": sampleAccept}},
		{"4.2.1 Upgrade in any case", with("Upgrade: WebSocket"), switching, nil},
		{"4.2.1 Connection in any case", with("Connection: upgrade"), switching, nil},
		{"4.2.1 Connection as a list", with("Connection: keep-alive, Upgrade"), switching, nil},
		{"4.2.1 Connection in two fields", with("Connection: keep-alive\r\nConnection: Upgrade"), switching, nil},
		{"4.2.1 spaces around values", with("Sec-WebSocket-Key:   " + sampleKey + "  "), switching, map[string]string{"Sec-WebSocket-Accept": sampleAccept}},
		{"4.2.1 query in the path", strings.Replace(handshake(), "/echo", "/echo?a=b&c", 1), switching, nil},

		{"4.2.1 POST", strings.Replace(handshake(), "GET", "POST", 1), []int{http.StatusBadRequest, http.StatusMethodNotAllowed}, nil},
		{"4.2.1 HTTP/1.0", strings.Replace(handshake(), "HTTP/1.1", "HTTP/1.0", 1), []int{http.StatusBadRequest, http.StatusUpgradeRequired, http.StatusHTTPVersionNotSupported}, nil},
		{"4.2.1 Host is missing", without("Host"), bad, nil},
		{"4.2.1 Upgrade is missing", without("Upgrade"), refused, nil},
		{"4.2.1 Upgrade to something else", with("Upgrade: h2c"), refused, nil},
		{"4.2.1 Connection is missing", without("Connection"), refused, nil},
		{"4.2.1 Connection without upgrade", with("Connection: keep-alive"), refused, nil},
		{"4.2.1 Connection with a word like upgrade", with("Connection: upgraded"), refused, nil},
		{"4.2.1 key is missing", without("Sec-WebSocket-Key"), bad, nil},
		{"4.2.1 key is empty", with("Sec-WebSocket-Key: "), bad, nil},
		{"4.2.1 key of 15 bytes", with("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P"), bad, nil},
		{"4.2.1 key of 17 bytes", with("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEBE="), bad, nil},
		{"4.2.1 key is not base64", with("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), bad, nil},
		{"11.3.1 key twice", with("Sec-WebSocket-Key: " + sampleKey + "\r\nSec-WebSocket-Key: " + sampleKey), bad, nil},
		{"11.3.5 version twice", with("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13"), refused, nil},
		{"4.2.1 Host twice", with("Host: localhost\r\nHost: elsewhere"), bad, nil}, // RFC 9112 3.2
		{"4.2.1 version is missing", without("Sec-WebSocket-Version"), refused, nil},
		{"4.4 version 8", with("Sec-WebSocket-Version: 8"), []int{http.StatusUpgradeRequired}, map[string]string{"Sec-WebSocket-Version": "13"}},
		{"4.4 version 12", with("Sec-WebSocket-Version: 12"), []int{http.StatusUpgradeRequired}, map[string]string{"Sec-WebSocket-Version": "13"}},
		{"4.4 version 14", with("Sec-WebSocket-Version: 14"), []int{http.StatusUpgradeRequired}, map[string]string{"Sec-WebSocket-Version": "13"}},
		{"4.2.1 line without a colon", strings.Replace(handshake(), "\r\nUpgrade", "\r\nrubbish\r\nUpgrade", 1), bad, nil},
		{"4.1 lines end in LF alone", strings.ReplaceAll(handshake(), "\r\n", "\n"), bad, nil},

		{"4.2.2 a subprotocol is chosen", with("Sec-WebSocket-Protocol: rookery.v1.json"), switching, map[string]string{"Sec-WebSocket-Protocol": "rookery.v1.json"}},
		{"4.2.2 a subprotocol among others", with("Sec-WebSocket-Protocol: chat, rookery.v1.proto, superchat"), switching, map[string]string{"Sec-WebSocket-Protocol": "rookery.v1.proto"}},
		{"4.2.2 no subprotocol that wasn't offered", with("Sec-WebSocket-Protocol: chat, superchat"), switching, map[string]string{"Sec-WebSocket-Protocol": ""}},
		{"9.1 an extension we don't have is not agreed to", with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-unknown"), switching, map[string]string{"Sec-WebSocket-Extensions": ""}},

		{"10.4 head of exactly 8 KiB", with("X-Padding: " + strings.Repeat("x", padding)), switching, nil},
		{"10.4 head of 8 KiB and a byte", with("X-Padding: " + strings.Repeat("x", padding+1)), []int{http.StatusRequestHeaderFieldsTooLarge}, nil},
		{"10.4 head over 8 KiB that doesn't end", handshake()[:100] + strings.Repeat("x", headerLimit), []int{http.StatusRequestHeaderFieldsTooLarge}, nil},
	}
}

func TestConformanceHandshake(t *testing.T) { eachEcho(t, testConformanceHandshake) }

func testConformanceHandshake(t *testing.T, addr string) {
	for nth, c := range handshakeCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Run("in one write", func(t *testing.T) {
				client := dial(t, addr)
				client.write([]byte(c.send))
				c.check(client)
			})
			if len(c.send) < 1000 {
				t.Run("byte by byte", func(t *testing.T) {
					client := dial(t, addr)
					for i := range c.send {
						client.write([]byte(c.send[i : i+1]))
					}
					c.check(client)
				})
			}
			t.Run("in two pieces", func(t *testing.T) {
				for _, cut := range cutsFor(addr, len(c.send), nth) {
					client := dial(t, addr)
					client.where = fmt.Sprintf("cut at %d: ", cut)
					client.write([]byte(c.send[:cut]))
					client.write([]byte(c.send[cut:]))
					c.check(client)
				}
			})
		})
	}
}

func (c handshakeCase) check(client *client) {
	client.t.Helper()
	response := client.readResponse()
	if !slices.Contains(c.status, response.StatusCode) {
		client.t.Fatalf("%sstatus %s, want %v", client.where, response.Status, c.status)
	}
	for name, want := range c.fields {
		if got := strings.Join(response.Header.Values(name), ", "); got != want {
			client.t.Errorf("%s%s: %q, want %q", client.where, name, got, want)
		}
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		// A refusal must come through as a whole, and say why.
		text, err := io.ReadAll(response.Body)
		if err != nil || len(text) == 0 {
			client.t.Errorf("%s%s with %d bytes of reason, %v", client.where, response.Status, len(text), err)
		}
		return
	}
	// RFC 6455 4.2.2, step 5: what a client requires of the response (4.1).
	if got := response.Header.Get("Upgrade"); !strings.EqualFold(got, "websocket") {
		client.t.Errorf("%sUpgrade: %q, want websocket", client.where, got)
	}
	if got := response.Header.Get("Connection"); !strings.EqualFold(got, "upgrade") {
		client.t.Errorf("%sConnection: %q, want Upgrade", client.where, got)
	}
	client.sync()
}

// Frames may come right behind the handshake, and must not be lost in front of the
// response or to the parser of the request.
func TestConformanceFramesBehindTheHandshake(t *testing.T) {
	eachEcho(t, testConformanceFramesBehindTheHandshake)
}

func testConformanceFramesBehindTheHandshake(t *testing.T, addr string) {
	stream := all([]byte(handshake()), sent(fin|opText, "early"), sent(opText, "ear"), sent(lastFragment, "lier"))
	step := 1
	if strings.HasPrefix(addr, "tls:") {
		step = 9 // as in cutsFor
	}
	for cut := len(stream); cut > 0; cut -= step {
		client := dial(t, addr)
		client.where = fmt.Sprintf("cut at %d: ", cut)
		client.write(stream[:cut])
		client.write(stream[cut:])
		if response := client.readResponse(); response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("cut at %d: %s", cut, response.Status)
		}
		for _, want := range []frame{echoed(opText, "early"), echoed(opText, "earlier")} {
			if got := client.read(); got != want {
				t.Fatalf("cut at %d: frame is %v, want %v", cut, got, want)
			}
		}
	}
}
