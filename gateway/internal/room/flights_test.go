package room

import "testing"

// TestFlightsOfASteadyLoad: the queue grows with those that wait, not with those that came since it was empty.
func TestFlightsOfASteadyLoad(t *testing.T) {
	const wait = 200
	var q flightQueue
	next := uint64(0)
	push := func() {
		next++
		q.push(&flight{key: keyHash{next, 1}, sender: sender{id: next}})
	}
	oldest := uint64(0)
	pop := func() {
		t.Helper()
		oldest++
		if f := q.pop(); f.sender.id != oldest || q.find(f.key) != nil {
			t.Fatalf("flight %d came in the place of %d, or its key is still there", f.sender.id, oldest)
		}
	}
	for range wait {
		push()
	}
	for range 100_000 {
		push()
		pop()
	}
	if got := cap(q.queue); got > mostSlots {
		t.Errorf("%d flights wait in %d slots", wait, got)
	}
	for _, f := range q.queue[:q.first] {
		if f != nil {
			t.Fatal("one that is over is still held")
		}
	}
	for range 10 * mostSlots {
		push()
	}
	for !q.empty() {
		pop()
	}
	if got := cap(q.queue); got > mostSlots {
		t.Errorf("behind a burst an empty queue keeps %d slots", got)
	}
}
