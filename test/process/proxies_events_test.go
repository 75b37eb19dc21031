package process

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestEventsBehindProxies: through the shipped configurations each event comes when it is said and not when a buffer is full, an idle
// stream stays, and POSTs on a connection that is kept are taken.
func TestEventsBehindProxies(t *testing.T) {
	t.Parallel()
	p := startProxied(t, aTenth)
	for name, address := range map[string]string{"nginx": p.nginx, "haproxy": p.haproxy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := &http.Transport{TLSClientConfig: p.roots.Clone(), ForceAttemptHTTP2: false, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			url := "https://" + address + "/events"
			res, err := client.Get(url + "?room=" + name)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
				t.Fatalf("%s: %v", res.Status, res.Header)
			}
			lines := make(chan string, 1000)
			go func() {
				defer close(lines)
				for in := bufio.NewScanner(res.Body); in.Scan(); {
					lines <- in.Text()
				}
			}()
			pings := 0
			session := ""
			post := func(body string) {
				t.Helper()
				res, err := client.Post(url+"/"+session, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				said, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != 204 {
					t.Fatalf("%s was answered with %s %s", body, res.Status, said)
				}
			}
			// until gives the first line with a text, and answers the questions before it.
			until := func(text string) string {
				t.Helper()
				for limit := time.After(patience); ; {
					select {
					case line, open := <-lines:
						if !open {
							t.Fatalf("the stream ended before %q came", text)
						}
						if strings.Contains(line, `{"ping":`) {
							pings++
							post("")
						}
						if strings.Contains(line, text) {
							return line
						}
					case <-limit:
						t.Fatalf("%q did not come", text)
					}
				}
			}
			until("event: session")
			session = strings.TrimPrefix(until("data: "), "data: ")
			post(`{"id":1,"connect":{"name":"ann"}}`)
			until(`"joined"`)
			for n := range 20 {
				post(fmt.Sprintf(`{"id":%d,"publish":{"room":%q,"text":"number %d"}}`, n+2, name, n))
				until(fmt.Sprintf(`"text":"number %d"`, n))
			}
			// Idle for longer than the proxy's limit: the questions of the server keep it.
			for end := time.Now().Add(scaledIdle); time.Now().Before(end); {
				until(`{"ping":`)
			}
			post(fmt.Sprintf(`{"id":99,"publish":{"room":%q,"text":"at last"}}`, name))
			until(`"text":"at last"`)
			if pings < 2 {
				t.Errorf("%d questions came", pings)
			}
		})
	}
}
