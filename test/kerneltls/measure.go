//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rookery/test/measure"
)

// figure is what connections of one setting cost.
type figure struct {
	Setting     string
	Connections int
	InKernel    int     // of them, those whose records are the kernel's
	Heap        float64 // bytes of live memory of the server, each
	Resident    float64 // bytes of its resident memory, each
	Slab        float64 // bytes of the kernel's slabs, each, with those of the client's end
	Delivery    float64 // microseconds of processor time of the server
}

// settings are measured one after the other.
var settings = []struct {
	name, flag string
	secure     bool
}{
	{"plain", "auto", false},
	{"TLS, records in the process", "off", true},
	{"TLS, records in the kernel", "auto", true},
}

const (
	plainAddress, secureAddress, adminAddress = "127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:9090"
	// before are connections that are there already when memory is looked at first: what a server needs once is not counted.
	before = 100
)

// costs has a server of its own for each setting.
func costs(connections int, say func(string)) (figures []figure, err error) {
	certificate, key, err := certify("/tmp")
	if err != nil {
		return nil, err
	}
	for _, setting := range settings {
		say("== measure " + setting.name)
		run := &measured{data: filepath.Join("/tmp", "data-"+strconv.Itoa(len(figures)))}
		f, err := run.cost(connections, setting.secure, "--tls.listen", secureAddress, "--tls.cert-files", certificate, "--tls.key-files", key, "--tls.kernel", setting.flag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", setting.name, err)
		}
		if kernel := setting.secure && setting.flag == "auto"; kernel != (f.InKernel == connections) || !kernel && f.InKernel > 0 {
			return nil, fmt.Errorf("%s: the kernel has the records of %d connections of %d", setting.name, f.InKernel, connections)
		}
		f.Setting = setting.name
		figures = append(figures, f)
	}
	return figures, nil
}

// measured is a server with a crowd.
type measured struct {
	data    string
	command *exec.Cmd
	crowd   crowd
}

func (m *measured) cost(connections int, secure bool, flags ...string) (f figure, err error) {
	m.command = exec.Command("/"+server, append([]string{
		"serve", "--dev", "--listen", plainAddress, "--admin", adminAddress, "--data", m.data, "--heartbeat", "24h", "--log.segment-bytes", "2MiB",
		"--limits.connections-per-ip", "0", "--limits.connections-per-user", "0", "--limits.handshake-timeout", "1m",
	}, flags...)...)
	if err := m.command.Start(); err != nil {
		return f, err
	}
	defer func() {
		m.crowd.leave()
		m.command.Process.Kill()
		m.command.Wait() // it was killed
		os.RemoveAll(m.data)
	}()
	for deadline := time.Now().Add(patience); ; {
		if _, err = ask("/readyz"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return f, fmt.Errorf("the server is not ready: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	address, config := plainAddress, (*tls.Config)(nil)
	if secure {
		address, config = secureAddress, &tls.Config{InsecureSkipVerify: true}
	}
	if err := m.crowd.grow(before, address, config); err != nil {
		return f, err
	}
	first, err := m.memory()
	if err != nil {
		return f, err
	}
	if err := m.crowd.grow(connections, address, config); err != nil {
		return f, err
	}
	last, err := m.memory()
	if err != nil {
		return f, err
	}
	f = figure{Connections: connections, InKernel: int(last.inKernel - first.inKernel)}
	f.Heap, f.Resident, f.Slab = each(first.heap, last.heap, connections), each(first.resident, last.resident, connections), each(first.slab, last.slab, connections)
	if err := m.crowd.join(); err != nil {
		return f, err
	}
	began, err := m.processorTime()
	if err != nil {
		return f, err
	}
	if err := m.crowd.deliver(); err != nil {
		return f, err
	}
	ended, err := m.processorTime()
	f.Delivery = float64((ended - began).Microseconds()) / float64(messages*(len(m.crowd)-1))
	return f, err
}

func each(first, last float64, connections int) float64 { return (last - first) / float64(connections) }

// state is what memory is held at one moment.
type state struct{ heap, resident, slab, inKernel float64 }

// memory looks at it behind a collection of garbage.
func (m *measured) memory() (s state, err error) {
	profile, err := ask("/debug/pprof/heap?debug=1&gc=1")
	if err != nil {
		return s, err
	}
	if s.heap, err = number(profile, "# HeapAlloc = "); err != nil {
		return s, err
	}
	metrics, err := ask("/metrics")
	if err != nil {
		return s, err
	}
	if s.inKernel, err = number(metrics, "\nrookery_tls_kernel_connections_total "); err != nil {
		return s, err
	}
	for file, to := range map[[2]string]*float64{
		{fmt.Sprintf("/proc/%d/status", m.command.Process.Pid), "VmRSS"}: &s.resident,
		{"/proc/meminfo", "Slab"}: &s.slab,
	} {
		bytes, err := measure.Kibibytes(file[0], file[1])
		if err != nil {
			return s, err
		}
		*to = float64(bytes)
	}
	return s, nil
}

// processorTime is that of the server so far, in steps of ten milliseconds.
func (m *measured) processorTime() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	const user, system, tick = 11, 12, 10 * time.Millisecond // behind the name, which may hold anything
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has too few fields: %s", m.command.Process.Pid, b)
	}
	u, err1 := strconv.Atoi(fields[user])
	s, err2 := strconv.Atoi(fields[system])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat has no times: %s", m.command.Process.Pid, b)
	}
	return time.Duration(u+s) * tick, nil
}

// number gives what stands behind a text.
func number(in, behind string) (float64, error) {
	_, rest, found := strings.Cut(in, behind)
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if !found || err != nil {
		return 0, fmt.Errorf("the server does not say %q", strings.TrimSpace(behind))
	}
	return n, nil
}

// ask asks the admin listener.
func ask(path string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Get("http://" + adminAddress + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return string(body), err
}

// certify writes a certificate of nobody and its key.
func certify(dir string) (certificate, key string, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", "", err
		}
	}
	return certificate, key, nil
}
