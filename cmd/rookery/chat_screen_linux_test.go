package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/gatewaytest"
)

// terminal is a real one: the test holds the side of the keyboard and the glass.
type terminal struct {
	t       *testing.T
	master  *os.File
	program *os.File
	reading sync.WaitGroup

	mu      sync.Mutex
	text    string // all that was written
	changed chan struct{}
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("this test needs a pseudo terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60})
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, master: master, program: program, changed: make(chan struct{}, 1)}
	s.reading.Go(s.readLoop)
	t.Cleanup(func() {
		s.press("\r")   // ends a read of the program that nothing else can interrupt
		program.Close() // ends the reading of the other side
		s.reading.Wait()
		master.Close()
	})
	return s
}

func (s *terminal) readLoop() {
	buffer := make([]byte, 4096)
	for {
		n, err := s.master.Read(buffer)
		s.mu.Lock()
		s.text += string(buffer[:n])
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *terminal) press(keys string) {
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Error(err)
	}
}

// expect waits until text is on the terminal behind what was expected before, and returns
// what stood between.
func (s *terminal) expect(text string) string {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		before, after, found := strings.Cut(s.text, text)
		if found {
			s.text = after
		}
		s.mu.Unlock()
		if found {
			return before
		}
		select {
		case <-s.changed:
		case <-deadline:
			s.t.Fatalf("the terminal does not show %q but %q", text, before)
		}
	}
}

func TestChatOnATerminal(t *testing.T) {
	for name, end := range map[string]string{"Ctrl-C": "\x03", "Ctrl-D": "\x04", "quit": "/quit\r"} {
		t.Run(name, func(t *testing.T) {
			g := gatewaytest.Start(t)
			runCommand(t, g, "", "publish", "lobby", "old").expect(t, 0, "1\n", "")
			screen := openTerminal(t)
			before, err := unix.IoctlGetTermios(int(screen.program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			status := make(chan int, 1)
			go func() {
				status <- run(context.Background(), []string{"chat", "lobby", "--name", "bob"}, process{
					stdin: screen.program, stdout: screen.program, stderr: screen.program,
					environ: []string{"ROOKERY_URL=" + g.URL()},
				})
			}()
			screen.expect("alice: old\r\n")
			screen.expect("lobby> ")

			// What comes in goes above the line that is being typed, which stays.
			screen.press("unfin")
			screen.expect("unfin")
			runCommand(t, g, "", "publish", "lobby", "evil\x1b[2J").expect(t, 0, "2\n", "")
			screen.expect(`alice: evil\x1b[2J` + "\r\n")
			screen.expect("lobby> unfin")
			screen.press("ished\r")

			// One's own line stands there already, so it is not shown again.
			runCommand(t, g, "", "tail", "lobby", "--after", "2", "--count", "1").expect(t, 0, "3 .* bob: unfinished\n", "")
			runCommand(t, g, "", "publish", "lobby", "after").expect(t, 0, "4\n", "")
			if shown := screen.expect("alice: after"); strings.Contains(shown, "bob: unfinished") {
				t.Errorf("the own line is shown twice: %q", shown)
			}

			screen.press("/join hall\r")
			screen.expect("* you are in hall")
			screen.expect("hall> ")
			screen.press("//hi\r")
			runCommand(t, g, "", "tail", "hall", "--after", "0", "--count", "1").expect(t, 0, "1 .* bob: /hi\n", "")

			screen.press(end)
			select {
			case got := <-status:
				if got != exitOK {
					t.Errorf("exit status %d; want 0", got)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the command did not end")
			}
			after, err := unix.IoctlGetTermios(int(screen.program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			if *after != *before {
				t.Error("the terminal was not given back as it was")
			}
		})
	}
}

func TestChatShowsALostConnection(t *testing.T) {
	g := gatewaytest.Start(t)
	screen := openTerminal(t)
	status := make(chan int, 1)
	go func() {
		status <- run(context.Background(), []string{"chat", "lobby", "--name", "bob"}, process{
			stdin: screen.program, stdout: screen.program, stderr: screen.program,
			environ: []string{"ROOKERY_URL=" + g.URL()},
		})
	}()
	screen.expect("* connected as bob")
	screen.expect("lobby> ")
	g.Stop()
	screen.expect("trying again")
	screen.expect("lobby (offline)> ")
	screen.press("into the void\r\x03")
	screen.expect("1 of the messages were not acknowledged")
	if got := <-status; got != exitFailed {
		t.Errorf("exit status %d; want 1: a message was not sent", got)
	}
}
