package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// privateFile writes a key into a file for the server alone.
func privateFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pemOf(t *testing.T, key any) []byte {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// TestAppPush: apps are told by stand-ins of Apple's and Google's services, each device by its own, and are forgotten when it is no more.
func TestAppPush(t *testing.T) {
	asked := make(chan string, 100)
	gone := map[string]bool{"00bb": true, "old": true}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /3/device/{token}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("apns-topic") != "example.chat" || !strings.HasPrefix(r.Header.Get("authorization"), "bearer ") {
			t.Errorf("Apple was asked with %v", r.Header)
		}
		token := r.PathValue("token")
		if gone[token] {
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, `{"reason":"Unregistered"}`)
		}
		asked <- token
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"at","expires_in":3600}`)
	})
	mux.HandleFunc("POST /v1/projects/p1/messages:send", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Message struct{ Token string } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Authorization") != "Bearer at" {
			t.Errorf("Google was asked with %v, %v", r.Header, err)
		}
		if gone[body.Message.Token] {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"status":"NOT_FOUND","details":[{"errorCode":"UNREGISTERED"}]}}`)
		}
		asked <- body.Message.Token
	})
	service := httptest.NewServer(mux)
	defer service.Close()
	appleKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	googleKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p1", "client_email": "a@b.example", "private_key": string(pemOf(t, googleKey)), "token_uri": service.URL + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Push.APNs = gateway.APNsConfig{KeyFile: privateFile(t, "key.p8", pemOf(t, appleKey)), KeyID: "k", TeamID: "t", Topic: "example.chat", URL: service.URL}
		c.Push.FCM = gateway.FCMConfig{AccountFile: privateFile(t, "account.json", account), URL: service.URL}
		c.Push.After, c.Push.Window = 100*time.Millisecond, 0
	})
	ann, ben := login(t, srv.Addr(), wires[0], "ann"), login(t, srv.Addr(), wires[2], "ben")
	device := func(r *v1.SetDevice) *v1.ServerFrame {
		t.Helper()
		return ben.answer(ben.request(&v1.ClientFrame{Op: &v1.ClientFrame_Device{Device: r}}))
	}
	if d := device(&v1.SetDevice{}).GetDevice(); d.GetWebPushKey() != "" || !slices.Equal(d.GetServices(), []string{"apns", "fcm"}) {
		t.Errorf("asked for the services: %v", d)
	}
	for _, r := range []*v1.SetDevice{{Id: "a1", Apns: "00aa"}, {Id: "a2", Apns: "00bb"}, {Id: "f1", Fcm: "new"}, {Id: "f2", Fcm: "old"}} {
		if !device(r).GetDevice().GetRegistered() {
			t.Errorf("not registered: %v", r)
		}
	}
	for _, r := range []*v1.SetDevice{
		{Id: "x", Apns: "../../x"}, {Id: "x", Fcm: "a b"}, {Id: "x", Apns: "00aa", Fcm: "new"}, {Id: "x", WebPush: &v1.WebPush{}},
		{Id: "x", WebPush: &v1.WebPush{Endpoint: "https://push.example/"}},
	} {
		ben.wantError(device(r), proto.ErrBadRequest)
	}
	room := ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: "ben"}}})).GetRoom().GetRoom()
	ann.answer(ann.join(room, nil, ""))
	for _, want := range [][]string{{"00aa", "00bb", "new", "old"}, {"00aa", "new"}} {
		ann.publish(room, "", "hi")
		var got []string
		for range want {
			select {
			case token := <-asked:
				got = append(got, token)
			case <-time.After(time.Minute):
				t.Fatalf("asked for %v within a minute, want %v", got, want)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("asked for %v, want %v", got, want)
		}
	}
}
