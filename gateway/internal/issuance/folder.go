package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	accountFile = "account.key"
	lockFile    = "lock"
	// newEnding is that of a file that is not in its place yet.
	newEnding = ".new"
	// largestFile keeps what is no file of ours from being read.
	largestFile = 1 << 20
)

func certificateFile(name string) string { return name + ".pem" }

// folder is that of one authority.
type folder struct{ dir string }

// openFolder makes it, for its owner only.
func openFolder(dir, directory string) (folder, error) {
	address, err := url.Parse(directory)
	if err != nil {
		return folder{}, fmt.Errorf("the address of the authority's directory: %w", err)
	}
	authority := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(strings.Trim(address.Host+address.Path, "/")))
	f := folder{filepath.Join(dir, strings.TrimLeft(authority, "."))}
	if err := makeSynced(f.dir); err != nil {
		return folder{}, fmt.Errorf("make the folder for certificates: %w; the server's user has to be allowed to write there", err)
	}
	return f, nil
}

// makeSynced makes a folder and those above it that are missing, each known to the one above it on the disk: else what is synced in the new one would
// be lost with it.
func makeSynced(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeSynced(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return folder{above}.sync()
}

// errOthersTurn: another process has the lock.
var errOthersTurn = errors.New("another process has the lock")

// lock takes the turn, which ends with release or with the process.
func (f folder) lock() (release func(), err error) {
	file, err := os.OpenFile(filepath.Join(f.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take the turn to order: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errOthersTurn
		}
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return func() { file.Close() }, nil
}

// read gives a file's content, of a plain file of sensible length.
func (f folder) read(name string) ([]byte, error) {
	path := filepath.Join(f.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > largestFile {
		return nil, fmt.Errorf("%s is no file of this server: it is no regular file, or too large", path)
	}
	return os.ReadFile(path)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// certificate reads the one of a name.
func (f folder) certificate(name string) (*tls.Certificate, error) {
	content, err := f.read(certificateFile(name))
	if err != nil {
		return nil, err
	}
	certificate, err := parse(content, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, certificateFile(name)), err)
	}
	return certificate, nil
}

// parse reads a key and its chain, and sees that they are for the name.
func parse(content []byte, name string) (*tls.Certificate, error) {
	certificate, err := tls.X509KeyPair(content, content)
	if err != nil {
		return nil, err
	}
	if err := certificate.Leaf.VerifyHostname(name); err != nil {
		return nil, err
	}
	return &certificate, nil
}

// account reads the account's key, or makes one; broken says why the one that was there is none.
func (f folder) account() (key crypto.Signer, broken, err error) {
	content, err := f.read(accountFile)
	switch {
	case err == nil:
		if key, broken = parseKey(content); broken == nil {
			return key, nil, nil
		}
		// Kept, since it may be mended. Its account can't be used by anybody without it.
		path := filepath.Join(f.dir, accountFile)
		if err := os.Rename(path, path+".broken"); err != nil {
			return nil, nil, fmt.Errorf("move the broken key of the account away: %w", err)
		}
	case !isMissing(err):
		return nil, nil, fmt.Errorf("read the key of the account: %w", err)
	}
	if key, err = newKey(); err != nil {
		return nil, nil, err
	}
	block, err := keyBlock(key)
	if err != nil {
		return nil, nil, err
	}
	// Before it is registered: an account whose key is lost is nobody's.
	if err := f.write(accountFile, block); err != nil {
		return nil, nil, fmt.Errorf("store the key of the account: %w", err)
	}
	return key, broken, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func keyBlock(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(content []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || signer.Curve != elliptic.P256() {
		return nil, fmt.Errorf("it is a %T, and not of the curve P-256", key)
	}
	return signer, nil
}

// write has a file be in its place as a whole, and on the disk, or as it was.
func (f folder) write(name string, content []byte) (err error) {
	made := filepath.Join(f.dir, name+newEnding)
	defer func() {
		if err != nil {
			os.Remove(made)
		}
	}()
	if err := writeSynced(made, content); err != nil {
		return err
	}
	if err := os.Rename(made, filepath.Join(f.dir, name)); err != nil {
		return err
	}
	return f.sync()
}

func writeSynced(path string, content []byte) (err error) {
	// What a process that ended in the middle has left may have other rights.
	if err := os.Remove(path); err != nil && !isMissing(err) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Sync()
}

func (f folder) sync() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// probe sees whether a certificate could be stored: one that was ordered for nothing counts at the authority all the same.
func (f folder) probe() error {
	path := filepath.Join(f.dir, "probe"+newEnding)
	defer os.Remove(path)
	return writeSynced(path, make([]byte, 16<<10))
}
