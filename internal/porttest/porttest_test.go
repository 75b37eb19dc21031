package porttest

import (
	"encoding/json"
	"io"
	"net"
	"strconv"
	"testing"
)

// TestFree: a port can be listened at, is given once, and not while somebody listens; also when more are taken than a block has.
func TestFree(t *testing.T) {
	seen := map[string]bool{}
	for range blockPorts + 10 {
		address := FreeAddress(t)
		if seen[address] {
			t.Errorf("%s is given twice", address)
		}
		seen[address] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("a port that is not free: %v", err)
			continue
		}
		defer l.Close()
	}
	next := own.left[0]
	l, err := listen(strconv.Itoa(next))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if given := Free(t); given == strconv.Itoa(next) {
		t.Errorf("%s is given although somebody listens there", given)
	}
}

// TestNothingIsLeftAtAPort: of a server that has ended a moment ago, whose connections the kernel keeps for a minute.
func TestNothingIsLeftAtAPort(t *testing.T) {
	Free(t) // there is a block
	next := strconv.Itoa(own.left[0])
	server, err := net.Listen("tcp", "127.0.0.1:"+next)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close() // who closes first has the TIME_WAIT
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	client.Close()
	server.Close()
	if given := Free(t); given == next {
		t.Errorf("%s is given, and who listens there without SO_REUSEADDR can't", given)
	}
}

// TestProcessesShareNoPort: although none of them listens at what it was given.
func TestProcessesShareNoPort(t *testing.T) {
	var all ranges
	if err := json.Unmarshal(rangesFile, &all); err != nil {
		t.Fatal(err)
	}
	var processes [3]taker
	seen := map[string]int{}
	for range blockPorts {
		for i := range processes {
			port, err := processes[i].take(all.Go)
			if err != nil {
				t.Fatal(err)
			}
			if of, ok := seen[port]; ok {
				t.Errorf("%s is given to process %d and to %d", port, of, i)
			}
			seen[port] = i
		}
	}
	for i := range processes {
		for _, l := range processes[i].held {
			l.Close()
		}
	}
	var full taker
	if port, err := full.take([2]int{all.Go[0], all.Go[0] + blockPorts - 1}); err == nil {
		t.Errorf("%s is of a range that has no block", port)
	}
}

// TestRangesAreApart: from each other, from the ports of services, and from those that the kernel gives to connections.
func TestRangesAreApart(t *testing.T) {
	var all map[string][2]int
	if err := json.Unmarshal(rangesFile, &all); err != nil {
		t.Fatal(err)
	}
	const services, kernel = 10_000, 32_768
	of := map[int]string{}
	for name, r := range all {
		if r[0] < services || r[1] > kernel || r[1]-r[0] < 50*blockPorts {
			t.Errorf("the range of %s is %v, want half a hundred blocks between %d and %d", name, r, services, kernel)
		}
		for port := r[0]; port < r[1]; port++ {
			if other, taken := of[port]; taken {
				t.Fatalf("%d is a port of %s and of %s", port, name, other)
			}
			of[port] = name
		}
	}
}
