package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rookery/bench/result"
)

// WriteFile writes a result. A reader sees the old file or the new one, never a part.
func WriteFile(path string, r *result.Result) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write result %s: %w", path, err)
	}
	return replace(path, append(data, '\n'))
}

// replace writes a file beside the path and gives it the name. A crash loses at most the new one, which is not synced: a
// run can be made again.
func replace(path string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(data)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// ReadFile reads a result that WriteFile wrote.
func ReadFile(path string) (*result.Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no result %s", path)
		}
		return nil, err
	}
	// The number first: a later format may differ in the types of its fields.
	var head struct {
		Format int `json:"format"`
	}
	switch err := json.Unmarshal(data, &head); {
	case err != nil:
		return nil, fmt.Errorf("%s is no result of rookery bench: %w", path, err)
	case head.Format == 0:
		return nil, fmt.Errorf("%s is no result of rookery bench: it has no format", path)
	case head.Format != result.Format:
		return nil, fmt.Errorf("%s has format %d and this version reads format %d; use the version that wrote it, or run again",
			path, head.Format, result.Format)
	}
	r := &result.Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
