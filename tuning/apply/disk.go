package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

var errNotEmpty error = syscall.ENOTEMPTY

// Disk is a machine whose files are below a directory: / for this one. Programs are told only on this one.
type Disk struct{ Root string }

// Lock keeps others from changing the machine until unlock is called. It leaves nothing behind: what is locked is the directory.
func (d Disk) Lock() (unlock func() error, err error) {
	root, err := os.Open(d.at("/"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(root.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		root.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another rookery tune apply or rollback is at work here: try again when it has ended")
		}
		return nil, fmt.Errorf("lock %s: %w", root.Name(), err)
	}
	return root.Close, nil
}

func (d Disk) at(name string) string { return filepath.Join(d.Root, name) }

// ReadFile refuses links: a file that is put in the place of one can't be taken back to it, and what it leads to is somebody else's.
func (d Disk) ReadFile(name string) ([]byte, fs.FileMode, error) {
	info, err := os.Lstat(d.at(name))
	if err != nil {
		return nil, 0, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, 0, fmt.Errorf("%s is a symbolic link, and not a file of rookery tune: take it away if nobody needs it", name)
	}
	b, err := os.ReadFile(d.at(name))
	return b, info.Mode().Perm(), err
}

// half is where a file is written before it gets its name, which nobody reads. It is always the same, so that what a process
// has left that was killed is overwritten or removed.
func (d Disk) half(name string) string {
	return filepath.Join(filepath.Dir(d.at(name)), "."+filepath.Base(name)+".rookery-tune")
}

func (d Disk) Replace(name string, content []byte, mode fs.FileMode) (err error) {
	file, err := os.OpenFile(d.half(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(d.half(name))))
		}
	}()
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), d.at(name)); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(d.at(name)))
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (d Disk) Remove(name string) error {
	if _, err := os.Lstat(d.half(name)); err == nil { // a file system that may only be read refuses also what would do nothing
		if err := os.Remove(d.half(name)); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(d.at(name)); err != nil {
		return err
	}
	if err := os.Remove(d.at(name)); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(d.at(name)))
}

func (d Disk) MakeDirectory(name string) (bool, error) {
	err := os.Mkdir(d.at(name), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, syncDirectory(filepath.Dir(d.at(name)))
}

// Set writes in one piece: the kernel takes each write for a value of its own.
func (d Disk) Set(name, value string) error {
	file, err := os.OpenFile(d.at(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value + "\n")
	return errors.Join(err, file.Close())
}

// commands by which programs are told, and a file that is there where they run.
var commands = map[string]struct {
	runs string
	args []string
}{
	"systemd": {"/run/systemd/system", []string{"systemctl", "daemon-reload"}},
	"udev":    {"/run/udev/control", []string{"udevadm", "control", "--reload"}},
}

func (d Disk) Reload(program string) error {
	c := commands[program]
	if _, err := os.Stat(c.runs); d.Root != "/" || err != nil {
		return nil
	}
	if out, err := exec.Command(c.args[0], c.args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", c.args, err, out)
	}
	return nil
}
