// Package otherservers starts servers that are not ours for a test, as gatewaytest starts a gateway: on a free port
// of the loopback address, as a process of its own that ends with the test. What they are made of is installed
// by test/setup; where it is missing the test fails and says so.
//
//	websocket.js   ws from npm: rooms in a protocol of its own, see Template
//	socketio.js    socket.io from npm
//	centrifuge/    the library that Centrifugo is made of
//	               mosquitto, Debian's
package otherservers

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rookery/bench/plan"
	"rookery/internal/porttest"
)

// patience is how long a server may take to start. It is no measure.
const patience = 60 * time.Second

// Template is what the server of WebSocket is told.
var Template = plan.Template{
	Join:    `{"join":"{room}","id":{id}}`,
	Joined:  `{"joined":"{room}","id":{id}}`,
	Leave:   `{"leave":"{room}"}`,
	Publish: `{"publish":"{room}","body":"{body}"}`,
}

// WebSocket starts ws; reaches is as in plan.Template. It gives the address of the server.
func WebSocket(t testing.TB, reaches string) (url string) {
	t.Helper()
	return "ws://" + startNode(t, "websocket.js", reaches)
}

// SocketIO starts socket.io. Rooms whose names begin with forbidden are refused, and so is the token bad.
func SocketIO(t testing.TB) (url string) {
	t.Helper()
	return "ws://" + startNode(t, "socketio.js")
}

// Centrifugo starts centrifuge. Rooms whose names have forbidden in them are refused, and so is the token bad.
func Centrifugo(t testing.TB) (url string) {
	t.Helper()
	return "ws://" + start(t, exec.Command(installed(t, "bin/tools/centrifuge-server")))
}

// Mosquitto starts mosquitto, which takes any user. It gives the addresses for WebSocket and TCP.
func Mosquitto(t testing.TB) (web, tcp string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // which is in the PATH of root only
		installed(t, program)
	}
	// Mosquitto can't say which ports it would take.
	webAddress, tcpAddress := porttest.FreeAddress(t), porttest.FreeAddress(t)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	_, webPort, _ := net.SplitHostPort(webAddress)
	_, tcpPort, _ := net.SplitHostPort(tcpAddress)
	lines := fmt.Sprintf("listener %s 127.0.0.1\nprotocol websockets\nlistener %s 127.0.0.1\nallow_anonymous true\n", webPort, tcpPort)
	if err := os.WriteFile(config, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(program, "-c", config))
	for _, address := range []string{webAddress, tcpAddress} {
		awaitListener(t, address)
	}
	return "ws://" + webAddress, "tcp://" + tcpAddress
}

// installed gives the path of a file that test/setup makes, by its path in the repository.
func installed(t testing.TB, path string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(root(t), path)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("a server for the tests is missing: run test/setup (%v)", err)
	}
	return path
}

// root gives the folder of the repository: tests run in that of their package.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run in the repository")
		}
		dir = filepath.Dir(dir)
	}
}

func startNode(t testing.TB, script string, args ...string) (address string) {
	t.Helper()
	installed(t, "bench/otherservers/node_modules/.package-lock.json")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("node is missing: run test/setup (%v)", err)
	}
	return start(t, exec.Command(node, append([]string{filepath.Join(root(t), "bench/otherservers", script)}, args...)...))
}

// start runs a server that prints its address first.
func start(t testing.TB, command *exec.Cmd) (address string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	command.Stdout = write
	run(t, command)
	write.Close()
	read.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(read)
	if !lines.Scan() {
		t.Fatalf("%s does not say where it listens: %v", command, lines.Err())
	}
	return lines.Text()
}

// run starts a process that ends with the test. What it has to say is shown if the test fails.
func run(t testing.TB, command *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait() // its error is that it was killed
		if t.Failed() && said.Len() > 0 {
			t.Logf("%s said:\n%s", command, &said)
		}
	})
}

// awaitListener waits until somebody listens at an address.
func awaitListener(t testing.TB, address string) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
