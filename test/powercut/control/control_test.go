package control

import (
	"net"
	"testing"
)

func TestValuesCross(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	guest, host := NewConnection(a), NewConnection(b)
	sent := []Event{{Kind: Said, Text: "a \"line\"\nin two"}, {Kind: Starting, Free: 1 << 40}}
	failed := make(chan error, 1)
	go func() {
		for _, event := range sent {
			if err := guest.Send(event); err != nil {
				failed <- err
			}
		}
		_, err := a.Write([]byte("no JSON\n"))
		failed <- err
	}()
	for _, want := range sent {
		var got Event
		if err := host.Receive(&got); err != nil || got != want {
			t.Errorf("received %+v, %v; want %+v", got, err, want)
		}
	}
	var got Event
	if err := host.Receive(&got); err == nil {
		t.Errorf("received %+v from what is no JSON", got)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
