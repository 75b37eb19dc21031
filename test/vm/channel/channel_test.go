package channel

import (
	"net"
	"testing"
)

type value struct {
	Text   string `json:"text"`
	Number int64  `json:"number,omitempty"`
}

func TestValuesCross(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	guest, host := New(a), New(b)
	sent := []value{{Text: "a \"line\"\nin two"}, {Number: 1 << 40}}
	failed := make(chan error, 1)
	go func() {
		for _, v := range sent {
			if err := guest.Send(v); err != nil {
				failed <- err
			}
		}
		_, err := a.Write([]byte("no JSON\n"))
		failed <- err
	}()
	for _, want := range sent {
		var got value
		if err := host.Receive(&got); err != nil || got != want {
			t.Errorf("received %+v, %v; want %+v", got, err, want)
		}
	}
	var got value
	if err := host.Receive(&got); err == nil {
		t.Errorf("received %+v from what is no JSON", got)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
