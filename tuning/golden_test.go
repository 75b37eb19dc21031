package tuning

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rookery/tuning/host"
	"rookery/tuning/hosttest"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew; look at what changed")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test ./tuning -update writes it anew. Got:\n%s", path, got)
	}
}

// TestMachines shows check and plan of every machine there is.
func TestMachines(t *testing.T) {
	targets := map[string]Target{
		"vps-1gb":    {Connections: 100000},
		"vps-16gb":   {Connections: 300000, MessageRate: 50000},
		"new-kernel": {Connections: 2000000, MessageRate: 100000},
		"lxc":        {Connections: 600000},
		"docker":     {Connections: 200000, MessageRate: 20000},
		"old-kernel": {Connections: 180000},
		"conflicts":  {Connections: 150000, MessageRate: 10000, Port: 9000},
	}
	for name, target := range map[string]Target{
		"vps-1gb": {Connections: 100000}, "vps-2gb": {Connections: 100000, MessageRate: 5000}, "vps-4gb": {}, "vps-8gb": {Connections: 500000, MessageRate: 20000},
		"vps-16gb": {Connections: 1000000}, "old-kernel": {Connections: 180000}, "new-kernel": {Connections: 150000}, "conflicts": {Connections: 150000, Port: 9000},
		"docker": {Connections: 200000, MessageRate: 20000}, "lxc": {Connections: 1200000}, "firecracker": {},
	} {
		targets["recorded/"+name] = target
	}
	for _, name := range hosttest.Names(t) {
		t.Run(name, func(t *testing.T) {
			h := hosttest.Open(t, name, host.Options{})
			var check, plan bytes.Buffer
			if err := Examine(h, targets[name]).Write(&check); err != nil {
				t.Fatal(err)
			}
			file := name
			if !strings.Contains(name, "/") {
				file = "composed/" + name
			}
			golden(t, file+".check", check.Bytes())
			if err := Make(h, targets[name], nil).Write(&plan); err != nil {
				t.Fatal(err)
			}
			golden(t, file+".plan", plan.Bytes())
		})
	}
}
