package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// Directory is where the state of this machine is kept.
const Directory = "/var/lib/rookery-tune"

const (
	format   = 1
	applied  = "applied"
	applying = "applying" // or rolling back: each file and value may be the old or the new one
)

// State is what was applied, and what was there before.
type State struct {
	Format      int
	Phase       string
	Target      string
	Applied     time.Time
	Files       []SavedFile
	Values      []SavedValue
	Directories []string // made for the state and the files, outermost first
}

// SavedFile is a file before and after.
type SavedFile struct {
	Path     string
	There    bool
	Original []byte      `json:",omitempty"`
	Mode     fs.FileMode `json:",omitempty"`
	Written  []byte
	// Also is another content that the file may have while the phase is applying.
	Also []byte `json:",omitempty"`
}

// SavedValue is a setting of the kernel before and after.
type SavedValue struct {
	Path, Key string
	Original  string // as it was read, without the line end
	Asked     string
	Set       string // as it reads since
	Also      string `json:",omitempty"`
}

func stateFile(dir string) string { return path.Join(dir, "state.json") }

// Load reads the state in a directory. Where nothing was applied it is the zero.
func Load(m Machine, dir string) (State, error) {
	var s State
	b, _, err := m.ReadFile(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read what was applied: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s is damaged, so that what was there before is not known: %w", stateFile(dir), err)
	}
	if s.Format != format {
		return s, fmt.Errorf("%s has format %d, and this version reads %d: use the version that wrote it", stateFile(dir), s.Format, format)
	}
	return s, nil
}

// Originals are the values before the first apply, by their paths; nil if nothing is applied.
func (s State) Originals() map[string]string {
	if s.Phase == "" {
		return nil
	}
	all := map[string]string{}
	for _, v := range s.Values {
		all[v.Path] = v.Original
	}
	return all
}

func (s State) empty() bool { return len(s.Files)+len(s.Values) == 0 }

func (s State) file(name string) (SavedFile, bool) {
	for _, f := range s.Files {
		if f.Path == name {
			return f, true
		}
	}
	return SavedFile{}, false
}

func (s State) value(name string) (SavedValue, bool) {
	for _, v := range s.Values {
		if v.Path == name {
			return v, true
		}
	}
	return SavedValue{}, false
}

// between is the state while the machine is led from one to another: everything of both.
func between(old, next State) State {
	s := next
	s.Phase = applying
	s.Files, s.Values = slices.Clone(next.Files), slices.Clone(next.Values)
	for i, f := range s.Files {
		if before, there := old.file(f.Path); there {
			s.Files[i].Also = before.Written
		}
	}
	for i, v := range s.Values {
		if before, there := old.value(v.Path); there {
			s.Values[i].Also = before.Set
		}
	}
	for _, f := range old.Files {
		if _, there := next.file(f.Path); !there {
			s.Files = append(s.Files, f)
		}
	}
	for _, v := range old.Values {
		if _, there := next.value(v.Path); !there {
			s.Values = append(s.Values, v)
		}
	}
	if s.Format == 0 {
		s.Format, s.Target, s.Applied = format, old.Target, old.Applied
	}
	return s
}

func (s State) save(m Machine, dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return m.Replace(stateFile(dir), append(b, '\n'), 0o600)
}

// changedSince says what is not as the state says.
func (s State) changedSince(m Machine) (reasons []string) {
	free := s.Phase != applied // the original is right, too, and what an apply before had written
	for _, f := range s.Files {
		content, _, err := m.ReadFile(f.Path)
		text := string(content)
		switch {
		case errors.Is(err, fs.ErrNotExist) && free && !f.There:
		case errors.Is(err, fs.ErrNotExist):
			reasons = append(reasons, f.Path+" is not there any more")
		case err != nil:
			reasons = append(reasons, fmt.Sprintf("%s can't be read: %v", f.Path, err))
		case text == string(f.Written), free && f.There && text == string(f.Original), free && f.Also != nil && text == string(f.Also):
		default:
			reasons = append(reasons, f.Path+" has another content than was written")
		}
	}
	for _, v := range s.Values {
		text, _, err := m.ReadFile(v.Path)
		now := oneBlank(string(text))
		switch {
		case errors.Is(err, fs.ErrNotExist): // its module is not loaded any more
		case err != nil:
			reasons = append(reasons, fmt.Sprintf("%s can't be read: %v", v.Key, err))
		case now == oneBlank(v.Set), free && (now == oneBlank(v.Original) || now == oneBlank(v.Asked) || v.Also != "" && now == oneBlank(v.Also)):
		default:
			reasons = append(reasons, fmt.Sprintf("%s is %s, and was set to %s", v.Key, now, oneBlank(v.Set)))
		}
	}
	return reasons
}
