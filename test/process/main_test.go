package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// The server as users build it, and with the race detector and the costly checks. Set by TestMain.
var plainBinary, raceBinary string

// binaryVariable names a server that is built already, for a machine that has no Go.
const binaryVariable = "ROOKERY_BINARY"

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rookery-process-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if built := os.Getenv(binaryVariable); built != "" {
		plainBinary, raceBinary = built, built
		return m.Run()
	}
	plainBinary, raceBinary = filepath.Join(dir, "rookery"), filepath.Join(dir, "rookery-race")
	var failed [2]error
	var building sync.WaitGroup
	building.Go(func() { failed[0] = build(plainBinary, "CGO_ENABLED=0", "-trimpath") }) // as make build does
	building.Go(func() {
		failed[1] = build(raceBinary, "CGO_ENABLED=1", "-race", "-tags", "invariants", "-ldflags=-s -w")
	})
	building.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

func build(to, setting string, flags ...string) error {
	args := append([]string{"build", "-o", to}, flags...)
	command := exec.Command("go", append(args, "rookery/cmd/rookery")...)
	command.Env = append(os.Environ(), setting)
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build of the server: %w\n%s", err, out)
	}
	return nil
}
