package kerneltls

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"

	"rookery/gateway/internal/records"
)

// TestCryptoInfo: what the kernel is given is laid out as in linux/tls.h.
func TestCryptoInfo(t *testing.T) {
	direction := func(key string) *records.Direction {
		return &records.Direction{Key: []byte(key), IV: []byte("saltexplicit"), Sequence: 0x0102030405060708}
	}
	for _, c := range []struct {
		suite     uint16
		key, want string
	}{
		{tls.TLS_AES_128_GCM_SHA256, strings.Repeat("k", 16), "04033300" + hex.EncodeToString([]byte("explicit"+strings.Repeat("k", 16)+"salt")) + "0102030405060708"},
		{tls.TLS_AES_256_GCM_SHA384, strings.Repeat("k", 32), "04033400" + hex.EncodeToString([]byte("explicit"+strings.Repeat("k", 32)+"salt")) + "0102030405060708"},
	} {
		if got, err := cryptoInfo(c.suite, direction(c.key)); err != nil || hex.EncodeToString([]byte(got)) != c.want {
			t.Errorf("%s: %x, %v; want %s", tls.CipherSuiteName(c.suite), got, err, c.want)
		}
	}
	for _, suite := range []uint16{tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		if _, err := cryptoInfo(suite, direction(strings.Repeat("k", 16))); err == nil {
			t.Errorf("%s, with a key of 16 bytes, is given to the kernel", tls.CipherSuiteName(suite))
		}
	}
}

// TestProbeTellsTheTruth: a kernel whose module is loaded takes records, and one that has none leaves a connection as it was.
func TestProbeTellsTheTruth(t *testing.T) {
	probed := Probe()
	if _, err := os.Stat("/sys/module/tls"); err == nil && probed != nil {
		t.Errorf("the module tls is there, and %v", probed)
	}
	if probed == nil {
		return // Probe has seen it work
	}
	here, there, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	defer there.Close()
	keys := records.Keys{Suite: tls.TLS_AES_128_GCM_SHA256, Send: records.Direction{Key: make([]byte, 16), IV: make([]byte, 12)}}
	keys.Receive = keys.Send
	if err := Give(here, keys); err == nil {
		t.Error("a connection was given to a kernel that can't")
	}
	got := make([]byte, 5)
	if _, err := io.WriteString(here, "plain"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(there, got); err != nil || string(got) != "plain" {
		t.Errorf("%q came, %v", got, err)
	}
}
