package framing

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

func TestUnsealTakesApartWhatSealMakes(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("x"), size)
		sealed := Seal(append(make([]byte, MaxHeaderSize), payload...), MaxHeaderSize, ws.OpText)
		op, got, ok := Unseal(sealed)
		if !ok || op != ws.OpText || !bytes.Equal(got, payload) {
			t.Errorf("of %d bytes: %v, %d bytes, %v", size, op, len(got), ok)
		}
	}
	for _, half := range [][]byte{nil, {0x81}, {0x81, 126, 1}, {0x81, 127, 0, 0}} {
		if _, _, ok := Unseal(half); ok {
			t.Errorf("%v was taken apart", half)
		}
	}
}
