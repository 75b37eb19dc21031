package dialect

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/reflect/protoreflect"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestFieldNumbers compares what is read by hand with the generated code.
func TestFieldNumbers(t *testing.T) {
	for _, c := range []struct {
		message protoreflect.Message
		fields  map[string]protoreflect.FieldNumber
	}{
		{(&v1.ServerFrame{}).ProtoReflect(), map[string]protoreflect.FieldNumber{
			"id": fieldID, "published": fieldPublished, "message": fieldMessage, "receipt": fieldReceipt}},
		{(&v1.ClientFrame{}).ProtoReflect(), map[string]protoreflect.FieldNumber{"id": fieldID, "publish": fieldPublish}},
		{(&v1.Publish{}).ProtoReflect(), map[string]protoreflect.FieldNumber{
			"room": fieldPublishRoom, "key": fieldPublishKey, "text": fieldPublishText, "ephemeral": fieldPublishEphemeral}},
		{(&v1.Published{}).ProtoReflect(), map[string]protoreflect.FieldNumber{
			"room": fieldPublishedRoom, "seq": fieldPublishedSeq, "at": fieldPublishedAt}},
		{(&v1.Receipt{}).ProtoReflect(), map[string]protoreflect.FieldNumber{
			"room": fieldReceiptRoom, "user": fieldReceiptUser, "delivered": fieldReceiptDelivered, "read": fieldReceiptRead}},
		{(&v1.Message{}).ProtoReflect(), map[string]protoreflect.FieldNumber{
			"room": fieldMessageRoom, "seq": fieldMessageSeq, "at": fieldMessageAt, "from": fieldMessageFrom,
			"text": fieldMessageText, "data": fieldMessageData, "ephemeral": fieldMessageEphemeral, "key": fieldMessageKey}},
	} {
		fields := c.message.Descriptor().Fields()
		for name, number := range c.fields {
			if fd := fields.ByName(protoreflect.Name(name)); fd == nil || fd.Number() != number {
				t.Errorf("%s.%s is %v, want %d", c.message.Descriptor().Name(), name, fd, number)
			}
		}
		// A message has more: with one of them it is decoded in full, see TestFastPathsAgree.
		if name := c.message.Descriptor().Name(); (name == "Published" || name == "Receipt") && fields.Len() != len(c.fields) {
			t.Errorf("%s has %d fields, %d are known here", c.message.Descriptor().Name(), fields.Len(), len(c.fields))
		}
	}
}

// readSlow is what readFrame would give without the fast paths.
func readSlow(r *rookery, frame []byte) (heard, error) {
	var f v1.ServerFrame
	if err := proto.DecodeServerFrame(&f, r.codec, frame); err != nil {
		return heard{}, err
	}
	h := heard{Room: -1}
	if f.Id <= math.MaxUint32 {
		h.ID = uint32(f.Id)
	}
	if p := f.GetPublished(); p != nil {
		h.Kind, h.Seq = Acknowledged, p.Seq
	}
	if f.GetReceipt() != nil {
		h.Kind = Receipt
	}
	if m := f.GetMessage(); m != nil {
		h.Kind, h.Seq, h.Room, h.Body = Message, m.Seq, r.number([]byte(m.Room)), m.GetText()+string(m.GetData())
		h.Ephemeral = m.Ephemeral
	}
	return h, nil
}

// compareFast fails if a fast path reads a frame as something else than the full decoder, and reports whether it read it.
func compareFast(t *testing.T, r *rookery, frame []byte) (fast bool) {
	t.Helper()
	e := Event{Room: -1}
	if r.codec == proto.Binary {
		fast = r.readBinaryMessage(frame, &e)
	} else {
		fast = r.readJSONMessage(frame, &e)
	}
	if !fast {
		return false
	}
	got := heard{e.Kind, e.ID, e.Room, e.Seq, e.Last, string(e.Body), e.Reason, string(e.Out), e.Ephemeral}
	want, err := readSlow(r, frame)
	if err != nil && r.codec == proto.JSON {
		// The fast path does not ask whether strings are UTF-8, or have control characters.
		printable := strings.Map(func(c rune) rune {
			if c < ' ' || c == 0xfffd {
				return '?'
			}
			return c
		}, string(frame))
		if want, err = readSlow(r, []byte(printable)); err == nil {
			got.Body = want.Body
			got.Room = want.Room
		}
	}
	if err != nil || got != want {
		t.Fatalf("%q\n got %+v\nwant %+v, %v", frame, got, want, err)
	}
	return true
}

func newRandom(t *testing.T) *rand.Rand {
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

func randomText(r *rand.Rand) string {
	pieces := []string{"p", "7", "0", "rb1.", `"`, `\`, "\n", "é", "\u2028", `","seq":1`, "{", "}}", " ", ","}
	var s string
	for range r.IntN(6) {
		s += pieces[r.IntN(len(pieces))]
	}
	return s
}

// TestFastPathsAgree: frames made at random are read as the full decoder reads them, and plain ones by the fast paths.
func TestFastPathsAgree(t *testing.T) {
	random := newRandom(t)
	for _, codec := range []proto.Codec{proto.Binary, proto.JSON} {
		r := &rookery{names: names{prefix: "p"}, codec: codec}
		fast := 0
		for range 20_000 {
			f := &v1.ServerFrame{Id: random.Uint64N(proto.MaxInteger) >> random.IntN(53)}
			number := func() uint64 { return random.Uint64N(proto.MaxInteger) >> random.IntN(53) }
			room := "p" + strconv.Itoa(random.IntN(20))
			if random.IntN(3) == 0 {
				room = randomText(random)
			}
			m := &v1.Message{Room: room, Seq: number(), At: number(), From: randomText(random)}
			if random.IntN(3) == 0 {
				m.Seq, m.Ephemeral, m.Key = 0, true, randomText(random)
			}
			switch random.IntN(10) {
			case 0:
				m.ReplyTo, m.Thread, m.Mentions, m.Kind = number(), number(), []string{randomText(random)}, randomText(random)
			case 1:
				m.Change = &v1.Change{Target: number(), Op: &v1.Change_React{React: &v1.React{Reaction: randomText(random)}}}
			case 2:
				m.Revision, m.Edits, m.Deleted, m.Pinned = number(), 1, true, true
				m.Reactions = []*v1.Reaction{{Reaction: "+", Count: 1, Own: true}}
			}
			switch random.IntN(4) {
			case 0:
				f.Op = &v1.ServerFrame_Published{Published: &v1.Published{Room: room, Seq: number(), At: number()}}
			case 1:
				m.Content = &v1.Message_Data{Data: []byte(randomText(random))}
				f.Op = &v1.ServerFrame_Message{Message: m}
			case 2:
				m.Content = &v1.Message_Text{Text: randomText(random)}
				f.Op = &v1.ServerFrame_Message{Message: m}
			case 3:
				f.Op = &v1.ServerFrame_Joined{Joined: &v1.Joined{Room: room, Head: number()}}
			}
			if random.IntN(2) == 0 {
				f.Id = 0
			}
			frame, _, err := proto.Next(codec, proto.AppendServerFrame(nil, codec, f))
			if err != nil {
				t.Fatal(err)
			}
			if compareFast(t, r, frame) {
				fast++
			}
			// And what is broken.
			broken := bytes.Clone(frame)
			if len(broken) > 0 {
				broken[random.IntN(len(broken))] ^= byte(1 << random.IntN(8))
				compareFast(t, r, broken)
				compareFast(t, r, append(bytes.Clone(frame), frame...))
				compareFast(t, r, frame[:random.IntN(len(frame))])
			}
		}
		if fast < 1000 {
			t.Errorf("codec %d: only %d frames of 20000 were read by the fast path", codec, fast)
		}
	}
}

// TestFastPathsGiveUp: what looks like a message at first and is none, leaves nothing of it behind.
func TestFastPathsGiveUp(t *testing.T) {
	message := &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "p3", Seq: 5, Content: &v1.Message_Text{Text: "x"}}}}
	joined := &v1.ServerFrame{Id: 1, Op: &v1.ServerFrame_Joined{Joined: &v1.Joined{Head: 9}}}
	var frame []byte
	for _, f := range []*v1.ServerFrame{message, joined} {
		b, _, err := proto.Next(proto.Binary, proto.AppendServerFrame(nil, proto.Binary, f))
		if err != nil {
			t.Fatal(err)
		}
		frame = append(frame, b...) // of two operations the last one counts
	}
	d, s := open(t, rookeryConfig(""), "tcp://h:1")
	var e Event
	if err := d.(*rookery).readFrame(s, frame, &e); err != nil || e.Kind != Joined || e.ID != 1 || e.Seq != 9 || e.Room != -1 || e.Body != nil {
		t.Errorf("got %+v, %v, want nothing but the answer to a join", e, err)
	}
	json := &rookery{names: names{prefix: "p"}, codec: proto.JSON}
	for _, line := range []string{
		`{"message":{"room":"p3","seq":18446744073709551617,"at":1,"from":"a","text":"x"}}`,
		`{"message":{"room":"p3","seq":05,"at":1,"from":"a","text":"x"}}`,
		`{"message":{"room":"p3","seq":5,"at":1,"from":"a","text":"x"}}}`,
		`{"message":{"room":"p3","seq":5,"at":1,"from":"a","text":"\u0078"}}`,
		`{"id":4294967296,"published":{"room":"p3","seq":5,"at":1}}`,
		`{"id":1,"published":{"room":"p3","seq":5}}`,
	} {
		if compareFast(t, json, []byte(line)) {
			t.Errorf("%s is read by the fast path", line)
		}
	}
}

func FuzzFastPaths(f *testing.F) {
	for _, s := range serverFrames {
		for _, codec := range []proto.Codec{proto.Binary, proto.JSON} {
			frame, _, err := proto.Next(codec, proto.AppendServerFrame(nil, codec, s.frame))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(codec == proto.JSON, frame)
		}
	}
	f.Fuzz(func(t *testing.T, json bool, frame []byte) {
		r := &rookery{names: names{prefix: "p"}, codec: proto.Binary}
		if json {
			r.codec = proto.JSON
		}
		compareFast(t, r, frame)
	})
}

// FuzzRead: no server makes a dialect panic, stand still, or take more than there is; and cuts change nothing.
func FuzzRead(f *testing.F) {
	var targets []string
	for _, way := range ways {
		targets = append(targets, "rookery "+way.codec+" "+way.target)
	}
	targets = append(targets, "websocket  ws://h:1", "socket.io  ws://h:1", "centrifugo  ws://h:1", "mqtt  ws://h:1", "mqtt  tcp://h:1")
	subprotocols := []string{proto.SubprotocolBinary, proto.SubprotocolJSON, "", "", "", "", "mqtt", ""}
	for i := range targets {
		f.Add(uint8(i), serverText(`0{"sid":"x"}`), uint16(3))
		f.Add(uint8(i), serverText("{}\n{}"), uint16(5))
		f.Add(uint8(i), fragments(ws.OpBinary, []byte("\x20\x02\x00\x00\x30\x08\x00\x02p1rb1."), 3), uint16(9))
	}
	f.Fuzz(func(t *testing.T, which uint8, stream []byte, cut uint16) {
		i := int(which) % len(targets)
		words := strings.SplitN(targets[i], " ", 3)
		c := config(words[0])
		c.Server.Codec = words[1]
		c.Server.QoS = int(which) / len(targets) % 2
		c.Server.Template.Join, c.Server.Template.Joined = "j {room}", "joined {room}"
		prepare := func() (Dialect, *Session) {
			d, s := open(t, c, words[2])
			if strings.HasPrefix(words[2], "ws") {
				feed(d, s, accepted(subprotocols[i]))
			}
			d.AppendJoin(nil, s, Join{ID: 1, Room: 1})
			d.AppendPublish(nil, s, Publish{ID: 2, Room: 1, Body: []byte("rb1.")})
			return d, s
		}
		d, s := prepare()
		all, failure := feed(d, s, stream)
		at := int(cut) % (len(stream) + 1)
		d, s = prepare()
		again, failureAgain := feed(d, s, stream[:at], stream[at:])
		if fmt.Sprint(again) != fmt.Sprint(all) || failureAgain != failure {
			t.Fatalf("%s cut at %d: got %+v %s\nwant %+v %s", targets[i], at, again, failureAgain, all, failure)
		}
	})
}

// TestPublishIsWrittenAsByTheCodec: byte by byte.
func TestPublishIsWrittenAsByTheCodec(t *testing.T) {
	random := newRandom(t)
	r := &rookery{names: names{prefix: "p"}}
	for range 1000 {
		p := Publish{ID: random.Uint32() >> random.IntN(32), Room: int(random.Uint32()>>2) >> random.IntN(30),
			Key: random.Uint32() >> random.IntN(32), Body: []byte(message(10 + random.IntN(20_000)>>random.IntN(15)))}
		publish := &v1.Publish{Room: r.room(p.Room), Key: strconv.Itoa(int(p.Key)), Content: &v1.Publish_Text{Text: string(p.Body)}}
		p.ID = max(p.ID, 1)
		if random.IntN(3) == 0 {
			p.ID, p.Ephemeral = p.ID*uint32(random.IntN(2)), "typing" // it needs no id
			publish.Key, publish.Ephemeral = "typing", true
		}
		want := &v1.ClientFrame{Id: uint64(p.ID), Op: &v1.ClientFrame_Publish{Publish: publish}}
		if got, want := r.appendPublishBinary(nil, p), proto.AppendClientFrame(nil, proto.Binary, want); !bytes.Equal(got, want) {
			t.Fatalf("%+v\n got %q\nwant %q", p, got, want)
		}
		if got, want := r.appendPublishJSON(nil, p), proto.AppendClientFrame(nil, proto.JSON, want); !bytes.Equal(got, want) {
			t.Fatalf("%+v\n got %q\nwant %q", p, got, want)
		}
	}
}

// TestNothingIsAllocated for what nearly all of a load is.
func TestNothingIsAllocated(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r, s := open(t, rookeryConfig(way.codec), way.target)
			s.stage = stageReady
			for _, f := range serverFrames {
				if f.want.Kind != Message && f.want.Kind != Acknowledged || f.want.Room == -1 && f.want.Kind == Message {
					continue
				}
				if way.frames == proto.JSON && f.frame.GetMessage().GetData() != nil {
					continue // base64 is decoded
				}
				stream := proto.AppendServerFrame(nil, way.frames, f.frame)
				if way.name != "tcp" {
					op := map[proto.Codec]ws.OpCode{proto.Binary: ws.OpBinary, proto.JSON: ws.OpText}[way.frames]
					stream = serverFrame(op, true, stream)
				}
				wantNoAllocation(t, r, s, stream, f.want.Kind)
			}
			wantNoPublishAllocation(t, r, s)
		})
	}
}

// FuzzFields: the short way through a field gives what protowire does, for whatever bytes.
func FuzzFields(f *testing.F) {
	f.Add([]byte{0x0a, 0x03, 'a', 'b', 'c'})
	f.Add([]byte{0x0a, 0x00, 0x10})
	f.Add([]byte{0x0a, 0x80, 0x01})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0x01})
	f.Add(append([]byte{0x0a, 0x80, 0x01}, make([]byte, 128)...))
	f.Add([]byte{0x0a, 0x81, 0x00, 0x07})
	f.Add([]byte{0x10, 0x96, 0x01})
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0x02, 0x01, 0x00})
	f.Add([]byte{0x0d, 0x01, 0x00, 0x00, 0x00})
	f.Add([]byte{0x82, 0x01, 0x01, 0x61})
	f.Fuzz(func(t *testing.T, in []byte) {
		field, number, value, n := consumeField(in)
		wantField, wantNumber, wantValue, want := consumeAnyField(in)
		if n != want || field != wantField || number != wantNumber || !bytes.Equal(value, wantValue) || (value == nil) != (wantValue == nil) {
			t.Errorf("%x: field %d, %d, %x, %d bytes; protowire has %d, %d, %x, %d", in, field, number, value, n, wantField, wantNumber, wantValue, want)
		}
	})
}
