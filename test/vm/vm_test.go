package vm

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readArchive takes a cpio archive apart again, by the words of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
func readArchive(t *testing.T, b []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	inodes := map[int64]bool{}
	for at := 0; ; {
		number := func(field int) int64 {
			n, err := strconv.ParseInt(string(b[at+6+8*field:at+14+8*field]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("header at %d begins with %q", at, b[at:at+6])
		}
		inode, mode, size, nameSize := number(0), number(1), int(number(6)), int(number(11))
		if inodes[inode] {
			t.Errorf("inode %d is there twice: the kernel would make a link", inode)
		}
		inodes[inode] = true
		name := string(b[at+110 : at+110+nameSize-1])
		content := (at + 110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			return files
		}
		files[name] = strconv.FormatInt(mode, 8) + " " + string(b[content:content+size])
		at = (content + size + 3) &^ 3
	}
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	path := func(name, content string, rights os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), rights); err != nil {
			t.Fatal(err)
		}
		return p
	}
	guest, server := path("g", "guest", 0o700), path("s", "the server", 0o700)
	modules := []string{path("b.ko", "first", 0o600), path("a.ko", "", 0o600)}
	to := filepath.Join(dir, "initramfs")
	contents := Contents{Init: guest, Files: map[string]string{"rookery": server}, Directories: []string{"disk"}, Modules: modules}
	if err := contents.Write(to); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	files := readArchive(t, b)
	for name, want := range map[string]string{
		"init": "100700 guest", "rookery": "100700 the server", "disk": "40755 ", "proc": "40755 ",
		"modules/00-b.ko": "100600 first", "modules/01-a.ko": "100600 ",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	contents.Files["secret"] = filepath.Join(dir, "missing")
	if err := contents.Write(to); err == nil {
		t.Error("a file that is not there is packed")
	}
}

func TestModuleInfo(t *testing.T) {
	info := "license=GPL\x00softdep=pre: crypto-crc32c\x00softdep=post: other\x00depends=xor,libcrc32c\x00name=btrfs\x00"
	if got, want := parseInfo(info), []string{"crc32c_generic", "xor", "libcrc32c"}; !slices.Equal(got, want) {
		t.Errorf("needed are %v, want %v", got, want)
	}
	if got := parseInfo("depends=\x00name=virtio_ring\x00"); got != nil {
		t.Errorf("needed are %v, want none", got)
	}
}

// TestArguments: a machine gets what its Config says, and no disk where it has none.
func TestArguments(t *testing.T) {
	c := Config{
		Kernel: &Kernel{Image: "/k/vmlinuz"}, Initramfs: "/i", Processors: 3, MemoryMiB: 700, Parameters: []string{"slab_nomerge", "a=b"}, Port: 77,
	}
	line := func() string {
		return strings.Join(arguments(c, "/d/socket", "127.0.0.1:1234", "/d/console", 999), " ")
	}
	without := line()
	for _, want := range []string{
		"-kernel /k/vmlinuz -initrd /i ", "-smp 3 -m 700M ", " VM_HOST=10.0.2.2:999 slab_nomerge a=b ", "hostfwd=tcp:127.0.0.1:1234-:77 ", "path=/d/console ",
	} {
		if !strings.Contains(without, want) {
			t.Errorf("%q is not in %s", want, without)
		}
	}
	if strings.Contains(without, "virtio-blk") {
		t.Errorf("there is a disk in %s", without)
	}
	if strings.Contains(without, "netdev=link") || strings.Contains(without, "VM_LINK") {
		t.Errorf("there is a link in %s", without)
	}
	c.Link = &Link{Socket: "/d/link", Listens: true, Address: netip.MustParsePrefix("10.9.0.1/16")}
	if with := line(); !strings.Contains(with, " VM_LINK=10.9.0.1/16 slab_nomerge ") || !strings.Contains(with, "-netdev stream,id=link,server=on,addr.type=unix,addr.path=/d/link -device virtio-net-pci,netdev=link") {
		t.Errorf("there is no end of a link that listens in %s", with)
	}
	c.Link = &Link{Socket: "/d/link", Address: netip.MustParsePrefix("10.9.0.2/16"), Sources: netip.MustParsePrefix("10.9.1.0/28")}
	if with := line(); !strings.Contains(with, " VM_LINK=10.9.0.2/16,10.9.1.0/28 ") || !strings.Contains(with, "server=off") {
		t.Errorf("there is no end of a link with more addresses in %s", with)
	}
	c.Disk = func(net.Conn) {}
	if with := line(); !strings.Contains(with, "cache=none,file.driver=nbd,file.server.type=unix,file.server.path=/d/socket -device virtio-blk-pci") {
		t.Errorf("there is no disk in %s", with)
	}
}
