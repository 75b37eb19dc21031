package plan

import (
	"bytes"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// ReadFile reads a plan. What it leaves out is as in the scenario that it names, or as in any of them if it names none of ours.
func ReadFile(path string) (Plan, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Plan{}, fmt.Errorf("read a plan: %w", err)
	}
	p, err := Read(data)
	if err != nil {
		return Plan{}, fmt.Errorf("%s is no plan: %w", path, err)
	}
	return p, nil
}

// Read is ReadFile for what was read already.
func Read(data []byte) (Plan, error) {
	var named struct {
		Scenario string `yaml:"scenario"`
	}
	if err := yaml.Unmarshal(data, &named); err != nil {
		return Plan{}, err
	}
	p, err := Named(named.Scenario)
	if err != nil {
		p = base()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := decoder.Decode(&p); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// Write gives a plan in the form that Read reads, without its secrets.
func Write(p Plan) ([]byte, error) {
	p.Server.Token, p.Server.Key = "", ""
	return yaml.Marshal(p)
}
