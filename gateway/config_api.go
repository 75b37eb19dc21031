package gateway

import (
	"errors"
	"fmt"

	"rookery/gateway/internal/api"
)

// apiKeys are the keys of the server API, none if it is off.
func (c Config) apiKeys() (api.Keys, error) {
	_, keys, err := c.readAPIKeys()
	return keys, err
}

func (c Config) validateAPIKeys(faults *faultList) {
	name, keys, err := c.readAPIKeys()
	if err == nil && len(keys) > 0 && c.Admin == "" {
		err = errors.New("is for the admin listener, and admin is empty; give that an address")
	}
	switch {
	case err == nil:
	case name == "api.keys":
		faults.add(setting{name: name, secret: true}, c.sources[name], "", err.Error())
	default:
		faults.add(setting{name: name}, c.sources[name], c.API.KeysFile, err.Error())
	}
}

// readAPIKeys reads the keys, and names the setting that they are from.
func (c Config) readAPIKeys() (setting string, keys api.Keys, err error) {
	path := c.API.KeysFile
	switch {
	case path == "" && c.API.Keys == "":
		return "", nil, nil
	case path == "":
		keys, err = api.ParseKeys(string(c.API.Keys))
		return "api.keys", keys, err
	case c.API.Keys != "":
		return "api.keys_file", nil, errors.New("is set together with api.keys; take one of them out")
	}
	data, err := readPrivate(path)
	if err != nil {
		return "api.keys_file", nil, err
	}
	if keys, err = api.ParseKeys(string(data)); err == nil && len(keys) == 0 {
		err = errors.New("it holds no key")
	}
	if err != nil {
		err = fmt.Errorf("file %s: %w", path, err)
	}
	return "api.keys_file", keys, err
}
