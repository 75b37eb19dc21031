package framing

import (
	"bytes"
	"io"
	"strconv"
	"testing"

	"github.com/gobwas/ws"
)

func sizeName(size int) string { return strconv.Itoa(size) + "B" }

// A client's library must read what we write, for every form of the length.
func TestAppendHeader(t *testing.T) {
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing, ws.OpPong, ws.OpClose} {
		for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 30} {
			if op.IsControl() && size > 125 {
				continue
			}
			header := AppendHeader([]byte("before"), op, size)[len("before"):]
			if len(header) != headerSize(size) || len(header) > MaxHeaderSize {
				t.Errorf("%d bytes: header of %d bytes, HeaderSize says %d", size, len(header), headerSize(size))
			}
			reader := bytes.NewReader(header)
			h, err := ws.ReadHeader(reader)
			if err != nil || reader.Len() != 0 {
				t.Fatalf("%d bytes: %v, %d bytes unread", size, err, reader.Len())
			}
			want := ws.Header{Fin: true, OpCode: op, Length: int64(size)}
			if h != want {
				t.Errorf("read %+v, want %+v", h, want)
			}
			if err := ws.CheckHeader(h, ws.StateClientSide); err != nil {
				t.Error(err)
			}
		}
	}
}

// Our reading of a header against the library's, where that takes it.
func FuzzParseHeader(f *testing.F) {
	f.Add(clientFrame(fin|1, "Hello"), false)
	f.Add(clientFrame(fin|2, text126), false)
	f.Add(clientFrameLength(fin|2, length64K, ""), false)
	f.Add(clientFrame(finContinuation, "x"), true)
	f.Fuzz(func(t *testing.T, in []byte, fragmented bool) {
		h, size, err := parseHeader(in, fragmented, 1<<40)
		if size < 0 || size > len(in) || (err != nil && size != 0) {
			t.Fatalf("size = %d of %d, err = %v", size, len(in), err)
		}
		reference, referenceErr := ws.ReadHeader(bytes.NewReader(in))
		switch {
		case size > 0 && (referenceErr != nil || reference != h):
			t.Fatalf("read %+v, the library %+v, %v", h, reference, referenceErr)
		case size == 0 && err == nil && referenceErr != io.EOF && referenceErr != io.ErrUnexpectedEOF:
			t.Fatalf("asks for more of %x, the library doesn't: %v", in, referenceErr)
		}
	})
}
