package records

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
)

// Keys are what somebody else needs to go on with the records of a connection in TLS 1.3: RFC 8446 5.2, 5.3 and 7.3.
type Keys struct {
	Suite         uint16 // tls.TLS_AES_128_GCM_SHA256 or tls.TLS_AES_256_GCM_SHA384
	Send, Receive Direction
}

// Direction is one half of it.
type Direction struct {
	Key, IV  []byte
	Sequence uint64 // of the next record
}

// Clear overwrites the keys: who has given them on needs them no more.
func (k *Keys) Clear() {
	k.Send.clear()
	k.Receive.clear()
}

func (d *Direction) clear() {
	clear(d.Key)
	clear(d.IV)
}

// KeepKeys has config's handshakes keep what Keys is made of, where there is a chance that they end with such keys. The configuration
// that it makes for each is one of config's own, so that tickets stay good: crypto/tls takes their keys from the first one. Where config's
// own GetConfigForClient gives another one, that is used as it is.
func KeepKeys(config *tls.Config) {
	before := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if before != nil {
			if other, err := before(hello); other != nil || err != nil {
				return other, err
			}
		}
		w, ours := hello.Conn.(*wire)
		if !ours || !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
			return nil, nil // config itself
		}
		w.kept = &kept{}
		own := config.Clone()
		own.KeyLogWriter = w.kept
		return own, nil
	}
}

// kept is what a handshake leaves for Keys.
type kept struct {
	secrets [len(labels)][]byte
	sent    [][]byte // records that look like application data, in their order: those of the handshake do, too
}

// forget is for when the keys are had: the tls.Conn has the configuration as long as it lives, and with it the log of keys.
func (k *kept) forget() {
	for i := range k.secrets {
		clear(k.secrets[i])
	}
	*k = kept{}
}

// labels are those of the log of keys, the format SSLKEYLOGFILE, in the order of secrets.
var labels = [...]string{"SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"}

const (
	sendHandshake = iota
	sendData
	receiveData
)

// Write takes a line of the log of keys: a label, the client's random, and a secret.
func (k *kept) Write(line []byte) (int, error) {
	words := bytes.Fields(line)
	if len(words) != 3 {
		return len(line), nil
	}
	if i := slices.Index(labels[:], string(words[0])); i >= 0 {
		secret, err := hex.AppendDecode(nil, words[2])
		if err != nil {
			return 0, err
		}
		k.secrets[i] = secret
	}
	return len(line), nil
}

// note keeps records that are sent. crypto/tls writes whole ones.
func (k *kept) note(b []byte) {
	const applicationData = 23
	for len(b) >= headerBytes {
		n := min(len(b), headerBytes+int(binary.BigEndian.Uint16(b[3:])))
		if b[0] == applicationData {
			k.sent = append(k.sent, bytes.Clone(b[:n]))
		}
		b = b[n:]
	}
}

// Keys gives the keys with which the next records are to be opened and sealed, once: from then on they are somebody else's, and the
// Stream is good for nothing but State. It gives none where the suite is another, and where it can't be shown that they are right: what was sealed
// since the handshake, tickets, has a number each, and that is counted by opening it.
func (s *Stream) Keys() (Keys, bool) {
	k := s.wire.kept
	s.wire.kept = nil
	if k == nil {
		return Keys{}, false
	}
	defer k.forget()
	state := s.tls.ConnectionState()
	if state.Version != tls.VersionTLS13 {
		return Keys{}, false
	}
	hash, size := sha256.New, 16
	switch state.CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		hash, size = sha512.New384, 32
	default:
		return Keys{}, false
	}
	var directions [len(labels)]Direction
	defer directions[sendHandshake].clear()
	for i, secret := range k.secrets {
		var err error
		if directions[i], err = derive(hash, secret, size); err != nil {
			return Keys{}, false
		}
	}
	keys := Keys{Suite: state.CipherSuite, Send: directions[sendData], Receive: directions[receiveData]}
	// What the client has sent since is unread, so the first number is the next one.
	return keys, count(k.sent, &directions[sendHandshake], &keys.Send)
}

// count opens records, those of the handshake first, and reports whether all can be opened, and some of the handshake are among them.
func count(sent [][]byte, handshake, data *Direction) bool {
	for _, record := range sent {
		if data.Sequence == 0 && handshake.opens(record) || data.opens(record) {
			continue
		}
		return false
	}
	return handshake.Sequence > 0
}

// opens reports whether a record is the next one of the direction, and counts it.
func (d *Direction) opens(record []byte) bool {
	block, err := aes.NewCipher(d.Key)
	if err != nil {
		return false
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return false
	}
	nonce := bytes.Clone(d.IV)
	last := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^d.Sequence)
	if _, err := aead.Open(nil, nonce, record[headerBytes:], record[:headerBytes]); err != nil {
		return false
	}
	d.Sequence++
	return true
}

// derive is RFC 8446 7.3.
func derive(hash func() hash.Hash, secret []byte, keyBytes int) (d Direction, err error) {
	const ivBytes = 12
	if d.Key, err = expandLabel(hash, secret, "key", keyBytes); err != nil {
		return d, err
	}
	d.IV, err = expandLabel(hash, secret, "iv", ivBytes)
	return d, err
}

// expandLabel is RFC 8446 7.1, with an empty context.
func expandLabel(hash func() hash.Hash, secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	return hkdf.Expand(hash, secret, string([]byte{byte(n >> 8), byte(n), byte(len(label))})+label+"\x00", n)
}
