package loop

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// deaf is an event loop that takes no bell the first times. It says so, or that it has it, as gnet does of a socket that epoll did not take.
type deaf struct {
	*fakeEvents
	first int // times
	says  error
	tries int
	other chan net.Conn // what it takes
}

func (e *deaf) Enroll(ctx context.Context, c net.Conn) (<-chan gnet.RegisteredResult, error) {
	opened := make(chan gnet.RegisteredResult, 1)
	if e.tries++; e.tries > e.first {
		gnet.FromContext(ctx).(*bell).hung = true
		e.other <- c
	} else {
		c.Close()
		opened <- gnet.RegisteredResult{Err: e.says}
	}
	close(opened)
	return opened, nil
}

// TestABellThatGnetDoesNotTake is given to it again, until it does or has ended. Rings before that are not lost.
func TestABellThatGnetDoesNotTake(t *testing.T) {
	for name, says := range map[string]error{"it is there": nil, "an error": os.NewSyscallError("dup", unix.EMFILE)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			events := &deaf{r.events, 2, says, 0, make(chan net.Conn, 1)}
			b, err := hang(r.loop, events)
			if err != nil {
				t.Fatal(err)
			}
			b.ring()
			inTime(t, "the bell's hanging", func() bool { r.loop.engine.watching.Wait(); return true })
			if events.tries != 3 {
				t.Fatalf("gnet was given the bell %d times", events.tries)
			}
			other := <-events.other
			defer other.Close()
			if n, err := other.Read(make([]byte, 8)); n != 1 || err != nil {
				t.Errorf("%d rings came, %v", n, err)
			}
			b.close()
		})
	}
	t.Run("the end", func(t *testing.T) {
		r := newRig(t, nil)
		b, err := hang(r.loop, &deaf{r.events, 1 << 20, nil, 0, nil})
		if err != nil {
			t.Fatal(err)
		}
		close(r.loop.engine.halted)
		inTime(t, "the bell's hanging", func() bool { r.loop.engine.watching.Wait(); return true })
		b.close()
	})
}
