package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/accept/accepttest"
)

// TestHalfABodyHasABound: of one that is taken, and of one that is refused in the middle, whose rest nobody wants.
func TestHalfABodyHasABound(t *testing.T) {
	for name, sent := range map[string]int{"half": 10, "too large": 1<<11 + beside + 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				here, there := net.Pipe()
				here.SetDeadline(time.Now().Add(2 * bodyTime))
				server := &http.Server{Handler: r.api}
				go server.Serve(accepttest.One(there))
				defer server.Close()
				go func() {
					fmt.Fprintf(here, "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
						strings.ReplaceAll(secret, " ", "-"), sent+1, strings.Repeat(" ", sent))
				}()
				in := bufio.NewReader(here)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				if res.StatusCode != http.StatusBadRequest && res.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("it was answered %s", res.Status)
				}
				if _, err := in.ReadByte(); err != io.EOF {
					t.Errorf("the connection is open: %v", err)
				}
			})
		})
	}
}
