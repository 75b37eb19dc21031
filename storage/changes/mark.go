package changes

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"rookery/storage/vfs"
)

const bootFile = "/proc/sys/kernel/random/boot_id"

// openMark begins the mark of an index that is in use. It was "open " where the tree had no list of its free pages: opening one of those
// that nobody has closed may end the process, if it is damaged.
const openMark = "in use "

// boot names this run of the kernel, "" if it can't be known.
func boot() string {
	b, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// believed says why the tree is to be made again, "" if it holds what was committed to it. One that can't be read is made again too.
func (x *Index) believed() (reason string) {
	b, err := os.ReadFile(x.markPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "it has no mark"
	}
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(b))
	if was, open := strings.CutPrefix(text, openMark); open {
		if x.boot == "" || was != x.boot {
			return "the machine went down while it was open"
		}
		return ""
	}
	sum, err := x.cleanMark()
	if errors.Is(err, fs.ErrNotExist) {
		return "its file is missing"
	}
	if err != nil {
		return err.Error()
	}
	if text != sum {
		return "its checksum does not match"
	}
	return ""
}

func (x *Index) cleanMark() (string, error) {
	f, err := os.Open(x.treePath())
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, f)
	return fmt.Sprintf("clean %d %08x", size, sum.Sum32()), err
}

// mark replaces the mark; it is synced before the call returns. One that says so already is left alone, and on a full disk it is written over:
// a half of one is not believed.
func (x *Index) mark(text string) error {
	if was, err := os.ReadFile(x.markPath()); err == nil && string(was) == text+"\n" {
		return nil
	}
	err := x.replaceMark(text)
	if vfs.NoRoom(err) {
		err = x.overwriteMark(text)
	}
	return err
}

func (x *Index) replaceMark(text string) error {
	next := x.markPath() + ".tmp"
	f, err := os.Create(next)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, x.markPath()); err != nil {
		return err
	}
	dir, err := os.Open(x.config.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// overwriteMark cuts the mark to its length afterwards: its block is kept, since there is no other.
func (x *Index) overwriteMark(text string) error {
	f, err := os.OpenFile(x.markPath(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if err == nil {
		err = f.Truncate(int64(len(text)) + 1)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func (x *Index) treePath() string { return filepath.Join(x.config.Dir, "changes.db") }
func (x *Index) markPath() string { return filepath.Join(x.config.Dir, "changes.mark") }
