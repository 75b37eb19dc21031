// Package recordstest seals records that crypto/tls has no way to send, for tests of what a hostile peer with a good handshake may do.
package recordstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
)

const headerBytes, handshakeRecord, dataRecord = 5, 22, 23

// Forger is the socket below a tls.Client, and its KeyLogWriter. It learns the client's keys and how many records it has sent.
type Forger struct {
	net.Conn
	t     testing.TB
	keys  strings.Builder // lines of SSLKEYLOGFILE
	hello []byte          // what came first: the record of the ServerHello
	data  int             // records of the kind application data that were sent

	updates int // of the client's keys, in TLS 1.3
	before  int // of data, those under keys before; the client's Finished is one
}

// New makes one whose client speaks with the given configuration, which it changes: only AES-128-GCM with SHA-256 is known to it.
func New(t testing.TB, conn net.Conn, config *tls.Config) (*Forger, *tls.Conn) {
	f := &Forger{Conn: conn, t: t, before: 1}
	config = config.Clone()
	config.KeyLogWriter = &f.keys
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	return f, tls.Client(f, config)
}

func (f *Forger) Read(b []byte) (int, error) {
	const enough = 64
	n, err := f.Conn.Read(b)
	if len(f.hello) < enough {
		f.hello = append(f.hello, b[:n]...)
	}
	return n, err
}

// Write gets whole records.
func (f *Forger) Write(b []byte) (int, error) {
	for rest := b; len(rest) >= headerBytes; rest = rest[headerBytes+int(binary.BigEndian.Uint16(rest[3:])):] {
		if rest[0] == dataRecord {
			f.data++
		}
	}
	return f.Conn.Write(b)
}

// PieceOfMessage sends a record with a piece of a message of the handshake, as the client's next record: it is good, and of a kind that is not for a client
// to send any more.
func (f *Forger) PieceOfMessage(version uint16, piece []byte) {
	f.t.Helper()
	if version == tls.VersionTLS13 {
		f.Record(handshakeRecord, piece)
		return
	}
	f.send(f.seal12(piece))
}

// Record sends a good record of any type, in TLS 1.3.
func (f *Forger) Record(recordType byte, content []byte) {
	f.t.Helper()
	f.send(f.seal13(recordType, content))
}

// Empty gives so many good records without data, to be sent next, in TLS 1.3.
func (f *Forger) Empty(n int) (records []byte) {
	f.t.Helper()
	_, secret := Secret(f.t, f.keys.String(), "CLIENT_TRAFFIC_SECRET_0")
	sealer := newSealer(f.t, secret)
	for range n {
		records = sealer.seal(records, uint64(f.data-f.before), dataRecord, nil)
		f.data++
	}
	return records
}

// UpdateKeys sends an update of the client's keys, RFC 8446 4.6.3, which asks for one of the server's. The client does not know of it: from then
// on its records are to be sent by Record.
func (f *Forger) UpdateKeys() {
	f.t.Helper()
	const keyUpdate, requested = 24, 1
	f.Record(handshakeRecord, []byte{keyUpdate, 0, 0, 1, requested})
	f.updates++
	f.before = f.data
}

func (f *Forger) send(record []byte) {
	f.t.Helper()
	f.data++
	if _, err := f.Conn.Write(record); err != nil {
		f.t.Fatal(err)
	}
}

// BeginsCertificate is the first piece of a message of 200,000 bytes that says it is a certificate, of which crypto/tls takes that many.
func BeginsCertificate() []byte {
	const certificate, size = 11, 200_000
	return append([]byte{certificate, size >> 16, size >> 8 & 0xff, size & 0xff}, make([]byte, 996)...)
}

// seal13 is for a client whose Finished is application data too, under other keys, and RFC 8446 7.2 for keys that were updated.
func (f *Forger) seal13(recordType byte, content []byte) []byte {
	_, secret := Secret(f.t, f.keys.String(), "CLIENT_TRAFFIC_SECRET_0")
	for range f.updates {
		secret = expand(f.t, secret, "traffic upd", sha256.Size)
	}
	return Seal(f.t, secret, uint64(f.data-f.before), recordType, content)
}

// Seal gives a record of TLS 1.3 of any type, the sequence-th after 0 under a secret: RFC 8446 5.2 and 5.3.
func Seal(t testing.TB, secret []byte, sequence uint64, recordType byte, content []byte) []byte {
	t.Helper()
	return newSealer(t, secret).seal(nil, sequence, recordType, content)
}

// sealer has what follows from a secret.
type sealer struct {
	aead cipher.AEAD
	iv   []byte
}

func newSealer(t testing.TB, secret []byte) sealer {
	t.Helper()
	return sealer{gcm(t, expand(t, secret, "key", 16)), expand(t, secret, "iv", 12)}
}

// seal appends a record to dst.
func (s sealer) seal(dst []byte, sequence uint64, recordType byte, content []byte) []byte {
	nonce := bytes.Clone(s.iv)
	last := nonce[4:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^sequence)
	head := binary.BigEndian.AppendUint16([]byte{dataRecord, 3, 3}, uint16(len(content)+1+16))
	return s.aead.Seal(append(dst, head...), nonce, append(bytes.Clone(content), recordType), head)
}

// expand is HKDF-Expand-Label of RFC 8446 7.1.
func expand(t testing.TB, secret []byte, label string, n int) []byte {
	t.Helper()
	info := string([]byte{0, byte(n), byte(len("tls13 ") + len(label))}) + "tls13 " + label + "\x00"
	out, err := hkdf.Expand(sha256.New, secret, info, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// seal12 is RFC 5246 6.2.3.3 and 6.3, and RFC 5288 3. The client's Finished is the first record under the keys.
func (f *Forger) seal12(piece []byte) []byte {
	clientRandom, master := Secret(f.t, f.keys.String(), "CLIENT_RANDOM")
	const randomAt, keyBytes, block = headerBytes + 4 + 2, 16, 16 + 16 + 4 + 4
	seed := append([]byte("key expansion"), f.hello[randomAt:randomAt+32]...)
	seed = append(seed, clientRandom...)
	sum := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, master)
		for _, part := range parts {
			h.Write(part)
		}
		return h.Sum(nil)
	}
	var keys []byte
	for a := sum(seed); len(keys) < block; a = sum(a) {
		keys = append(keys, sum(a, seed)...)
	}
	sequence := binary.BigEndian.AppendUint64(nil, uint64(f.data+1))
	nonce := append(bytes.Clone(keys[2*keyBytes:2*keyBytes+4]), sequence...)
	kind := []byte{handshakeRecord, 3, 3}
	head := append(binary.BigEndian.AppendUint16(bytes.Clone(kind), uint16(8+len(piece)+16)), sequence...)
	about := binary.BigEndian.AppendUint16(append(bytes.Clone(sequence), kind...), uint16(len(piece)))
	return gcm(f.t, keys[:keyBytes]).Seal(head, nonce, piece, about)
}

func gcm(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// Secret gives what a log of keys (SSLKEYLOGFILE) has under a label: the client's random and a secret.
func Secret(t testing.TB, keys, label string) (random, secret []byte) {
	t.Helper()
	for line := range strings.Lines(keys) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != label {
			continue
		}
		random, errRandom := hex.DecodeString(words[1])
		secret, errSecret := hex.DecodeString(words[2])
		if errRandom == nil && errSecret == nil {
			return random, secret
		}
	}
	t.Fatalf("there is no %s among the keys", label)
	return nil, nil
}
