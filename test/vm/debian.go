package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// rootPackages are what a Debian has on a rented machine, as far as it matters here.
const rootPackages = "systemd,systemd-sysv,udev,procps,kmod,nftables,iproute2,login,passwd,libpam-modules,busybox"

// Debian is the root of a small Debian, with the kernel and the initramfs that its own programs have made.
type Debian struct {
	archive string // tar
}

// ProvideDebian makes a root of a release of Debian ("bookworm") in a directory of cache, so that later runs need no network and
// have the same one.
func ProvideDebian(ctx context.Context, cache, suite string, progress io.Writer) (Debian, error) {
	d := Debian{filepath.Join(cache, suite+".tar")}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return d, err
	}
	programs := Programs{"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
	if err := provide(ctx, programs, progress); err != nil {
		return d, err
	}
	if _, err := os.Stat(d.archive); err == nil {
		return d, nil
	}
	fmt.Fprintf(progress, "making a Debian %s\n", suite)
	half := d.archive + ".half"
	defer os.Remove(half)
	// The kernel of the release itself: those of its security updates leave the archive when newer ones come.
	include := rootPackages + "," + kernelPackage + "/" + suite
	if err := Command(ctx, "", "mmdebstrap", "--variant=minbase", "--format=tar", "--include="+include, suite, half); err != nil {
		return d, err
	}
	return d, os.Rename(half, d.archive)
}

// Disk makes a disk that this Debian boots from, as an image, with files of ours by their names there. It has as many bytes as are
// asked for, and takes on the host what is in it. Config has what boots it but for memory and processors.
func (d Debian) Disk(ctx context.Context, dir string, files map[string]string, size int64) (c Config, err error) {
	root, image := filepath.Join(dir, "root"), filepath.Join(dir, "disk")
	if err := os.Mkdir(root, 0o755); err != nil {
		return c, err
	}
	defer os.RemoveAll(root)
	if err := Command(ctx, "", "tar", "--numeric-owner", "-xpf", d.archive, "-C", root); err != nil {
		return c, err
	}
	for name, from := range files {
		to := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return c, err
		}
		if err := Command(ctx, "", "cp", "-P", from, to); err != nil {
			return c, err
		}
	}
	kernels, _ := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	initramfs, _ := filepath.Glob(filepath.Join(root, "boot", "initrd.img-*"))
	if len(kernels) != 1 || len(initramfs) != 1 {
		return c, fmt.Errorf("%s holds %d kernels with %d files to boot into, want one of each: remove it and start again", d.archive, len(kernels), len(initramfs))
	}
	c = Config{
		Kernel:    &Kernel{Image: filepath.Join(dir, "vmlinuz"), Release: strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")},
		Initramfs: filepath.Join(dir, "initrd"), Image: image, Dir: dir,
		// Where the host is busy, units take longer than systemd thinks they may.
		Parameters: []string{"root=/dev/vda", "rw", "systemd.default_timeout_start_sec=1h", "systemd.firstboot=off"},
	}
	if err := os.Rename(kernels[0], c.Kernel.Image); err != nil {
		return c, err
	}
	if err := os.Rename(initramfs[0], c.Initramfs); err != nil {
		return c, err
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return c, err
	}
	if err := os.Truncate(image, size); err != nil {
		return c, err
	}
	return c, Command(ctx, "", "mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, image)
}
