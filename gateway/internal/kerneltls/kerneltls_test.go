package kerneltls

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/internal/records"
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
		if got, err := cryptoInfo(c.suite, direction(c.key)); err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s: %x, %v; want %s", tls.CipherSuiteName(c.suite), got, err, c.want)
		}
	}
	for _, suite := range []uint16{tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		if _, err := cryptoInfo(suite, direction(strings.Repeat("k", 16))); err == nil {
			t.Errorf("%s, with a key of 16 bytes, is given to the kernel", tls.CipherSuiteName(suite))
		}
	}
}

// TestRoomy: a full socket has no room, and has some again when its peer reads.
func TestRoomy(t *testing.T) {
	here, there, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	defer there.Close()
	roomy := func() (is bool) {
		if err := control(here, func(fd int) error { is = Roomy(fd); return nil }); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !roomy() {
		t.Error("a fresh socket has no room")
	}
	written := 0
	if err := control(here, func(fd int) error {
		for {
			n, err := unix.Write(fd, make([]byte, 64<<10))
			if err != nil {
				return nil // it is full
			}
			written += n
		}
	}); err != nil {
		t.Fatal(err)
	}
	if roomy() {
		t.Error("a full socket has room")
	}
	if _, err := io.CopyN(io.Discard, there, int64(written)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(probePatience); !roomy(); { // acknowledgements are under way
		if time.Now().After(deadline) {
			t.Fatal("an empty socket has no room")
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
