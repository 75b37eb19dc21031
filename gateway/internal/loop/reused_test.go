package loop

import (
	"testing"

	pb "google.golang.org/protobuf/proto"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestDecodeAgain: what one request said is not in the next, whatever either is.
func TestDecodeAgain(t *testing.T) {
	words := &v1.Publish{Room: "lobby", Key: "k", ReplyTo: 3, Mentions: []string{"bob"}, Content: &v1.Publish_Text{Text: "hello"}}
	frames := []*v1.ClientFrame{
		{Id: 1, Op: &v1.ClientFrame_Publish{Publish: words}},
		{Id: 2, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "hall", Content: &v1.Publish_Data{Data: []byte{7}}}}},
		{Id: 3, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}},
		{Id: 4},
		{Id: 5, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{}}},
		{},
		{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Key: "no room"}}},
	}
	for _, codec := range []proto.Codec{proto.Binary, proto.JSON} {
		u := newReused()
		for _, before := range frames {
			for _, f := range frames {
				for _, in := range []*v1.ClientFrame{before, f} {
					got, err := u.decode(codec, payload(t, codec, in))
					if err != nil {
						t.Fatal(err)
					}
					if !pb.Equal(got, in) {
						t.Errorf("behind %v it reads %v, want %v", before, got, in)
					}
				}
			}
		}
		if _, err := u.decode(codec, []byte{0xff}); err == nil {
			t.Error("half a frame is read")
		}
		if got, err := u.decode(codec, payload(t, codec, frames[1])); err != nil || !pb.Equal(got, frames[1]) {
			t.Errorf("behind half a frame it reads %v, %v", got, err)
		}
	}
}

// payload is a frame without what divides it from the next.
func payload(t *testing.T, codec proto.Codec, f *v1.ClientFrame) []byte {
	t.Helper()
	payload, _, err := proto.Next(codec, proto.AppendClientFrame(nil, codec, f))
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// TestBatchAgain: a batch that is used again holds nothing of what it was, and no more are kept than are of use.
func TestBatchAgain(t *testing.T) {
	u := newReused()
	b := u.batch()
	b.stored.messages, b.stored.json, b.next, b.cut, b.number = []*proto.Encoded{{}}, []byte("x"), 3, true, 7
	u.finished(b)
	if again := u.batch(); again != b || again.stored.messages != nil || again.stored.json != nil || again.next != 0 || again.cut || again.number != 0 {
		t.Errorf("it is %+v", again)
	}
	for range 2 * keptBatches {
		u.finished(&batch{})
	}
	if len(u.batches) != keptBatches {
		t.Errorf("%d are kept, want %d", len(u.batches), keptBatches)
	}
}
