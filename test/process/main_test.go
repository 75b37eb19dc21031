package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// The server as users build it, and with the race detector. Set by TestMain.
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
	if err := errors.Join(build(plainBinary), build(raceBinary, "-race")); err != nil {
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

func build(to string, flags ...string) error {
	args := append([]string{"build", "-o", to}, flags...)
	out, err := exec.Command("go", append(args, "rookery/cmd/rookery")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build of the server: %w\n%s", err, out)
	}
	return nil
}
