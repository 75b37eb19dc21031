package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// archive builds an initramfs: a cpio archive in the form "newc", which is what the kernel unpacks.
type archive struct {
	bytes.Buffer
	inodes int
}

const (
	modeDirectory = 0o040755
	modeProgram   = 0o100755
)

func (a *archive) directory(name string) { a.entry(name, modeDirectory, nil) }

// file puts a copy of a file of the host into the archive.
func (a *archive) file(name, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	a.entry(name, modeProgram, content)
	return nil
}

// entry writes a header of 13 numbers of 8 hexadecimal digits, the name and the content, each padded
// to four bytes.
func (a *archive) entry(name string, mode int, content []byte) {
	a.inodes++
	links := 1
	if mode == modeDirectory {
		links = 2
	}
	a.WriteString("070701")
	for _, number := range []int{a.inodes, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(a, "%08x", number)
	}
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() { a.WriteString(strings.Repeat("\x00", -a.Len()&3)) }

func (a *archive) end() { a.entry("TRAILER!!!", 0, nil) }

// writeInitramfs packs what a guest runs. modules are paths in the order in which they are loaded.
func writeInitramfs(path, guest, server string, modules []string) error {
	a := &archive{}
	for _, name := range []string{"dev", "proc", "sys", "disk", "modules", "tmp"} {
		a.directory(name)
	}
	if err := a.file("init", guest); err != nil {
		return err
	}
	if err := a.file("rookery", server); err != nil {
		return err
	}
	for i, module := range modules {
		if err := a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), module); err != nil {
			return err
		}
	}
	a.end()
	return os.WriteFile(path, a.Bytes(), 0o600)
}
