package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if err := notify([]string{"A=b", "NOTIFY_SOCKET=" + name}, "MAINPID=5"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := manager.Read(b)
	if err != nil || string(b[:n]) != "MAINPID=5" {
		t.Errorf("the manager was told %q, %v", b[:n], err)
	}
	if err := notify([]string{"A=b"}, "READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	if err := notify([]string{"NOTIFY_SOCKET=" + name + ".gone"}, "READY=1"); err == nil {
		t.Error("nobody hears, and that is no error")
	}
}
