package proto

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "rookery/proto/rookery/v1"
)

// newRandom makes the source of a test's random frames and prints how to repeat it.
func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("ROOKERY_SEED: %v", err)
		}
	}
	t.Logf("seed %d: repeat with ROOKERY_SEED=%d", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pieces are what makes a string hard to write: what JSON escapes, what it must not, and
// the ends of UTF-8's ranges.
var pieces = []string{
	"a", "lobby", `"`, `\`, "/", "\n", "\r", "\t", "\b", "\f", "\x00", "\x1f", " ", "\x7f", "\u0080",
	"é", "\u07ff", "\u0800", "\u2028", "\u2029", "\ufeff", "\ufffd", "\uffff", "😀", "\U0010ffff", "</script>",
}

func randomText(r *rand.Rand) string {
	var s string
	for range r.IntN(12) {
		s += pieces[r.IntN(len(pieces))]
	}
	return s
}

func randomBytes(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(40))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// randomInteger has every length of varint, up to the largest integer of the protocol.
func randomInteger(r *rand.Rand) uint64 { return r.Uint64N(MaxInteger+1) >> r.IntN(53) }

// fill sets fields of m at random, one of each oneof. It walks the schema, so that a new
// operation is tested without a line here.
func fill(r *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if real := fd.ContainingOneof(); real != nil && !real.IsSynthetic() || r.IntN(4) == 0 {
			continue
		}
		fillField(r, m, fd)
	}
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		if choice := oneofs.Get(i); !choice.IsSynthetic() {
			fillField(r, m, choice.Fields().Get(r.IntN(choice.Fields().Len())))
		}
	}
}

func fillField(r *rand.Rand, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	if fd.IsList() {
		list := m.Mutable(fd).List()
		for range r.IntN(4) {
			if fd.Kind() == protoreflect.StringKind {
				list.Append(protoreflect.ValueOfString(randomText(r)))
			} else {
				fill(r, list.AppendMutable().Message())
			}
		}
		return
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		fill(r, m.Mutable(fd).Message())
	case protoreflect.StringKind:
		m.Set(fd, protoreflect.ValueOfString(randomText(r)))
	case protoreflect.BytesKind:
		m.Set(fd, protoreflect.ValueOfBytes(randomBytes(r)))
	case protoreflect.BoolKind:
		m.Set(fd, protoreflect.ValueOfBool(r.IntN(2) == 0))
	case protoreflect.Uint32Kind:
		m.Set(fd, protoreflect.ValueOfUint32(uint32(randomInteger(r))))
	case protoreflect.Uint64Kind:
		m.Set(fd, protoreflect.ValueOfUint64(randomInteger(r)))
	default:
		panic("the schema has a kind of field that this test does not fill: " + fd.Kind().String())
	}
}

// randomMessage is a message as a room makes it: complete, since the hot path writes every
// field of the header without asking whether it is zero.
func randomMessage(r *rand.Rand) (Header, *v1.Publish) {
	h := Header{
		Room: "r" + randomText(r), From: "u" + randomText(r),
		Seq: 1 + randomInteger(r)>>1, At: 1 + int64(randomInteger(r)>>1),
	}
	if r.IntN(3) == 0 {
		h.Seq, h.Ephemeral, h.Key = 0, true, randomText(r)
	}
	p := &v1.Publish{}
	if r.IntN(2) == 0 {
		p.Content = &v1.Publish_Text{Text: randomText(r)}
	} else {
		p.Content = &v1.Publish_Data{Data: randomBytes(r)}
	}
	if r.IntN(3) == 0 {
		p.ReplyTo, p.Thread, p.Kind, p.Mentions = randomInteger(r), randomInteger(r), randomText(r), []string{"u" + randomText(r)}
	} else if r.IntN(3) == 0 {
		p.Change = &v1.Change{}
		fill(r, p.Change.ProtoReflect())
	}
	return h, p
}

// delivered is the Message that a header and a publish make, put together by hand.
func delivered(h Header, p *v1.Publish) *v1.Message {
	m := &v1.Message{
		Room: h.Room, Seq: h.Seq, At: uint64(h.At), From: h.From, Ephemeral: h.Ephemeral, Key: h.Key,
		ReplyTo: p.ReplyTo, Thread: p.Thread, Kind: p.Kind, Mentions: p.Mentions, Change: p.Change,
	}
	switch c := p.Content.(type) {
	case *v1.Publish_Text:
		m.Content = &v1.Message_Text{Text: c.Text}
	case *v1.Publish_Data:
		m.Content = &v1.Message_Data{Data: c.Data}
	}
	return m
}
