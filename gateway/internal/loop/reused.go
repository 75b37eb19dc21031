package loop

import (
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// reused is what a loop uses again for each message, where making it anew was a tenth of the loop's own work: of requests nearly all are publishes.
type reused struct {
	request   v1.ClientFrame
	publish   v1.ClientFrame_Publish
	answer    v1.ServerFrame
	published v1.Published
	batches   []*batch // empty ones
}

// keptBatches is how many empty batches are kept: as many rooms have their turn at once in a loop that has much to do.
const keptBatches = 256

func newReused() *reused {
	u := &reused{publish: v1.ClientFrame_Publish{Publish: &v1.Publish{}}}
	u.answer.Op = &v1.ServerFrame_Published{Published: &u.published}
	return u
}

// decode reads a request. The frame holds until the next one is read, and what it says as long as b.
func (u *reused) decode(codec proto.Codec, b []byte) (*v1.ClientFrame, error) {
	f, publish := &u.request, u.publish.Publish
	f.Reset()
	publish.Reset()
	f.Op = &u.publish
	err := proto.DecodeClientFrame(f, codec, b)
	if err == nil && f.Op == &u.publish && publish.Room == "" {
		// It may be a frame that asks for nothing: then Op is nil.
		f.Reset()
		err = proto.DecodeClientFrame(f, codec, b)
	}
	return f, err
}

// acknowledgement is the answer to a publish. It holds until the next one is made.
func (u *reused) acknowledgement(id uint64, room string, seq uint64, at int64) *v1.ServerFrame {
	u.answer.Id = id
	u.published.Room, u.published.Seq, u.published.At = room, seq, uint64(at)
	return &u.answer
}

// batch gives an empty one.
func (u *reused) batch() *batch {
	n := len(u.batches)
	if n == 0 {
		return &batch{}
	}
	b := u.batches[n-1]
	u.batches = u.batches[:n-1]
	return b
}

// finished takes back a batch that all have been given. Bytes that it made are theirs now.
func (u *reused) finished(b *batch) {
	if len(u.batches) < keptBatches {
		*b = batch{}
		u.batches = append(u.batches, b)
	}
}
