package consult

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/gateway/internal/webhook"
	"rookery/proto"
)

// Hook is how the application is reached. webhook.Hook is one.
type Hook interface {
	// Post sends an event, and gives the answer.
	Post(ctx context.Context, id, kind string, data any) (*webhook.Answer, error)
}

// Config says whom the keeper asks. All fields without a default must be set.
type Config struct {
	Hook        Hook
	Loops       []*handoff.Mailbox[handoff.Event] // by handoff.Handle.Loop
	Decided     func(handoff.Command)             // takes publishes back
	Timeout     time.Duration
	Concurrency int  // questions that are asked at the same time
	Allow       bool // what is not answered is allowed, and not refused

	// Standing says why the user of a publish may not publish in its room any more, nil if they may.
	Standing func(*handoff.Command) *handoff.Refusal
	// Claims says what rights are, as the claims of a token; Rights reads such claims.
	Claims func(*identity.Rights) any
	Rights func(user string, claims json.RawMessage) (*identity.Rights, error)
	// AskConnect has connects asked about, TellEnded sessions that have ended told.
	AskConnect, TellEnded bool

	MessageBytes int // of a content
	WaitingBytes int // default 16 MiB
	Logger       *slog.Logger
}

const (
	// again is after how long somebody whom there was no room or no answer for may ask again.
	again = time.Second
	// patience is how many failures in a row make the keeper ask only once in rest.
	patience = 5
	rest     = time.Second
	// unusableEvery is how often the log has a line about answers that can't be used: users may have a part in what these say.
	unusableEvery = time.Minute
)

// errUnusable is an answer of an application that works, to one question, which can't be put into practice.
var errUnusable = errors.New("the answer can't be used")

// Keeper asks the application. Its methods are safe for concurrent use.
type Keeper struct {
	// Set at construction.
	cfg     Config
	context context.Context // of what is being asked
	cancel  context.CancelFunc
	asking  sync.WaitGroup
	wake    *sync.Cond // of mu: ready has something, or closed
	ended   ended

	unanswering rate.Line // an application may fail each second time

	mu           sync.Mutex // guards all below, held for memory work
	lines        map[publisher]*line
	ready        []*line
	waiting      int
	waitingBytes int
	closed       bool
	failures     int // in a row
	nextTrial    time.Time
	nextUnusable time.Time // no line in the log before

	counted [events]counters
}

// counters are written by who asks and read by anyone.
type counters struct {
	asked, refused, changed, failed, overloaded atomic.Int64
	seconds                                     [len(bounds) + 1]atomic.Int64
	sum                                         atomic.Int64 // nanoseconds
}

// bounds are those of the histogram of how long questions took, in seconds.
var bounds = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Start starts the keeper. Close ends it.
func Start(cfg Config) *Keeper {
	if cfg.WaitingBytes == 0 {
		cfg.WaitingBytes = 16 << 20
	}
	k := &Keeper{cfg: cfg, lines: make(map[publisher]*line)}
	k.wake = sync.NewCond(&k.mu)
	k.context, k.cancel = context.WithCancel(context.Background())
	for range cfg.Concurrency {
		k.asking.Go(k.askLoop)
	}
	k.startTelling()
	return k
}

// Close refuses what waits and what comes, ends what is being asked, and returns when everything was answered.
func (k *Keeper) Close() {
	left := k.leave()
	k.cancel()
	for i := range left {
		k.tell(&left[i], verdict{refusal: draining()})
	}
	k.asking.Wait()
}

// askLoop is one of Config.Concurrency goroutines, started by Start and ended by Close.
func (k *Keeper) askLoop() {
	for {
		l, q, ok := k.take()
		if !ok {
			return
		}
		k.tell(&q, k.consult(&q))
		k.answered(l)
	}
}

// verdict is what became of a question.
type verdict struct {
	refusal *handoff.Refusal
	grant   *handoff.Grant // of a connect
	content []byte         // of a publish that says something else
}

// answer is what an application says. Which fields count depends on the event.
type answer struct {
	Allow   *bool           `json:"allow"`
	Reason  string          `json:"reason"`
	Claims  json.RawMessage `json:"claims"`
	Message *message        `json:"message"`
}

// consult asks the application.
func (k *Keeper) consult(q *question) verdict {
	counted := &k.counted[q.event]
	left := k.cfg.Timeout - time.Since(q.first)
	if left <= 0 || !k.mayTry() {
		counted.failed.Add(1)
		return k.unanswered()
	}
	ctx, cancel := context.WithTimeout(k.context, left)
	defer cancel()
	begun := time.Now()
	v, err := k.ask(ctx, q)
	counted.asked.Add(1)
	counted.took(time.Since(begun))
	if err != nil && k.context.Err() != nil {
		return verdict{refusal: draining()} // it was the keeper that gave up
	}
	k.settle(q, err)
	switch {
	case err != nil:
		counted.failed.Add(1)
		return k.unanswered()
	case v.refusal != nil:
		counted.refused.Add(1)
	case v.grant != nil || v.content != nil:
		counted.changed.Add(1)
	}
	return v
}

// ask makes the request and reads the answer.
func (k *Keeper) ask(ctx context.Context, q *question) (v verdict, err error) {
	data, err := k.data(q)
	if err != nil {
		return v, err
	}
	name := EventNames()[q.event]
	response, err := k.cfg.Hook.Post(ctx, name+"_"+rand.Text(), name, data)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return v, fmt.Errorf("no answer within %v", k.cfg.Timeout)
	case errors.Is(err, webhook.ErrTooLong):
		return v, fmt.Errorf("%w: %w", errUnusable, err)
	case err != nil:
		return v, err
	case !response.Good():
		return v, response.Err()
	}
	var a answer
	if err := json.Unmarshal(response.Body, &a); err != nil {
		// The error of the decoder may quote what is said.
		return v, errors.New("the answer is not the JSON that it should be")
	}
	switch {
	case a.Allow == nil:
		return v, errors.New("the answer does not say allow")
	case !*a.Allow:
		return verdict{refusal: &handoff.Refusal{Code: proto.ErrRefused, Text: reason(a.Reason)}}, nil
	case q.event == connectEvent:
		v.grant, err = k.grant(q, a.Claims)
	default:
		v.content, err = k.changed(q, a.Message)
	}
	if err != nil {
		return v, fmt.Errorf("%w: %w", errUnusable, err)
	}
	return v, nil
}

func (k *Keeper) data(q *question) (any, error) {
	if q.event == connectEvent {
		return k.connectData(&q.connect), nil
	}
	return publishData(&q.command)
}

// reason is what the client is told.
func reason(text string) string {
	if text == "" || len(text) > proto.MaxReason || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "The application of this server does not allow it."
	}
	return text
}

// unanswered is the verdict on what there was no answer for.
func (k *Keeper) unanswered() verdict {
	if k.cfg.Allow {
		return verdict{}
	}
	return verdict{refusal: &handoff.Refusal{Code: proto.ErrOverloaded, Text: "The application of this server does not answer; send again later.", Wait: again}}
}

// mayTry reports whether the application is to be asked: it answers, or it is time to see whether it does again.
func (k *Keeper) mayTry() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failures < patience {
		return true
	}
	now := time.Now()
	if now.Before(k.nextTrial) {
		return false
	}
	k.nextTrial = now.Add(k.cfg.Timeout + rest) // until it is known what comes of this one
	return true
}

// settle notes what came of an attempt, and logs when the application stops answering, and when it answers again. An answer that can't be used
// says that it is there: else a user whose messages become too long by what the application puts in would have nobody asked any more.
func (k *Keeper) settle(q *question, err error) {
	unusable := errors.Is(err, errUnusable)
	k.mu.Lock()
	was := k.failures
	k.failures++
	if err == nil || unusable {
		k.failures = 0
	}
	if unusable = unusable && !time.Now().Before(k.nextUnusable); unusable {
		k.nextUnusable = time.Now().Add(unusableEvery)
	}
	if k.failures >= patience {
		k.nextTrial = time.Now().Add(rest)
	}
	now := k.failures
	k.mu.Unlock()
	if unusable {
		k.cfg.Logger.Warn("the application has answered a webhook with what can't be used", "event", EventNames()[q.event], "allowed", k.cfg.Allow, "err", err)
	}
	switch {
	case was < patience && now == patience:
		k.cfg.Logger.Error("the application does not answer its webhook; it is asked once a second until it does",
			"event", EventNames()[q.event], "allowed_meanwhile", k.cfg.Allow, "err", err)
	case was == 0 && now == 1:
		k.unanswering.Log(k.cfg.Logger, slog.LevelWarn, "a webhook was not answered", "event", EventNames()[q.event], "allowed", k.cfg.Allow, "err", err)
	case was >= patience && now == 0:
		k.cfg.Logger.Info("the application answers its webhook again", "event", EventNames()[q.event])
	}
}

// tell hands a question back to who asked it.
func (k *Keeper) tell(q *question, v verdict) {
	if q.event == connectEvent {
		k.tellConnect(&q.connect, v)
		return
	}
	k.tellPublish(&q.command, v)
}

func (c *counters) took(d time.Duration) {
	i := 0
	for i < len(bounds) && d.Seconds() > bounds[i] {
		i++
	}
	c.seconds[i].Add(1)
	c.sum.Add(int64(d))
}

// Stats are counters since Start and sizes now.
type Stats struct {
	Events  [events]EventStats // by event, see EventNames
	Waiting int                // questions that wait or are being asked
	Bytes   int                // of them
	Down    bool               // the application does not answer

	EndedDropped, EndedFailed int64 // ends of sessions that were not told
}

// EventStats are the counters of one event.
type EventStats struct {
	Asked      int64 // requests
	Refused    int64 // by the application
	Changed    int64 // by the application: rights of a connect, content of a publish
	Failed     int64 // without an answer, not asked since the application is down among them
	Overloaded int64 // refused since too much waited
	Seconds    map[float64]uint64
	Sum        float64 // seconds
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	s := Stats{Waiting: k.waiting, Bytes: k.waitingBytes, Down: k.failures >= patience}
	k.mu.Unlock()
	for i := range k.counted {
		c := &k.counted[i]
		e := EventStats{
			Asked: c.asked.Load(), Refused: c.refused.Load(), Changed: c.changed.Load(), Failed: c.failed.Load(),
			Overloaded: c.overloaded.Load(), Seconds: make(map[float64]uint64), Sum: time.Duration(c.sum.Load()).Seconds(),
		}
		total := uint64(0)
		for b, bound := range bounds {
			total += uint64(c.seconds[b].Load())
			e.Seconds[bound] = total
		}
		s.Events[i] = e
	}
	s.EndedDropped, s.EndedFailed = k.ended.dropped.Load(), k.ended.failed.Load()
	return s
}
