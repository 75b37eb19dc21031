package main

import (
	"context"
	"fmt"
	"sync"

	client "rookery/client/go"
)

// receipts waits for what was typed to become durable, without keeping the user from
// typing on.
type receipts struct {
	// Set at construction.
	queue  chan receipt
	failed func(receipt, error)
	cancel context.CancelFunc
	ended  chan struct{}

	// Guarded by mu.
	mu    sync.Mutex
	open  int           // not answered yet
	none  chan struct{} // closed while open is 0
	fault int           // how many were not sent
}

type receipt struct {
	visit   *visit
	text    string
	pending *client.Pending
}

// maxReceipts is more than the client lets wait, for those that were answered behind one
// that was not.
const maxReceipts = 4096

func newReceipts(failed func(receipt, error)) *receipts {
	ctx, cancel := context.WithCancel(context.Background())
	r := &receipts{
		queue: make(chan receipt, maxReceipts), failed: failed,
		cancel: cancel, ended: make(chan struct{}), none: make(chan struct{}),
	}
	close(r.none)
	go r.waitLoop(ctx)
	return r
}

// waitLoop is started by newReceipts and ended by end.
func (r *receipts) waitLoop(ctx context.Context) {
	defer close(r.ended)
	for {
		select {
		case next := <-r.queue:
			_, err := next.pending.Wait(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.failed(next, err)
			}
			r.mu.Lock()
			if err != nil {
				r.fault++
			}
			if r.open--; r.open == 0 {
				close(r.none)
			}
			r.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (r *receipts) add(next receipt) {
	r.mu.Lock()
	if r.open == 0 {
		r.none = make(chan struct{})
	}
	r.open++
	r.mu.Unlock()
	r.queue <- next
}

// wait returns when all are answered or ctx ends, with an error if any was not sent.
func (r *receipts) wait(ctx context.Context) error {
	r.mu.Lock()
	none := r.none
	r.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open+r.fault > 0 {
		return fmt.Errorf("%d of the messages were not acknowledged", r.open+r.fault)
	}
	return nil
}

func (r *receipts) end() {
	r.cancel()
	<-r.ended
}
