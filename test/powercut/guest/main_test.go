//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestCountPacked(t *testing.T) {
	dir := t.TempDir()
	segment := func(name string, generation uint32, bytes int) {
		header := make([]byte, 64)
		binary.LittleEndian.PutUint32(header[48:], generation)
		if err := os.WriteFile(filepath.Join(dir, name), header[:bytes], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	segment("00.log", 2, 64)
	segment("10.log", 0, 64)
	segment("20.log", 1, 64)
	segment("30.log", 1, 20) // being created when the power went
	segment("SPARE-1", 1, 64)
	if n, err := countPacked(dir); n != 2 || err != nil {
		t.Errorf("counted %d, %v; want 2", n, err)
	}
	if n, err := countPacked(filepath.Join(dir, "missing")); n != 0 || err != nil {
		t.Errorf("before the first start counted %d, %v; want 0", n, err)
	}
}

func TestBallastIsLeftAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // its making was cut short
		t.Fatal(err)
	}
	for _, ask := range []int64{4096, 9000} {
		if err := makeBallast(path, ask); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != 4096 {
			t.Errorf("asked for %d the file has %d bytes, want 4096", ask, info.Size())
		}
	}
}
