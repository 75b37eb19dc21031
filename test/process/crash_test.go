package process

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"rookery/test/ledger"
)

// Settings of the crash test, from the environment.
const (
	// roundsVariable is how often the server is killed.
	roundsVariable = "ROOKERY_CRASH_ROUNDS"
	defaultRounds  = 15
	// defaultRoundsOverTLS are few: what a kill does to the log is the same.
	defaultRoundsOverTLS = 4
	// seedVariable repeats the decisions of a run. The moments of the machine it can't repeat.
	seedVariable = "ROOKERY_CRASH_SEED"
)

const (
	crashWriters = 8
	crashReaders = 4
	crashRooms   = 5
	// fullAudit is every how many restarts all history is read; else what came since the one
	// before the last, which is what a crash can touch.
	fullAudit = 8
)

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("%s is %q; set a number over 0", variable, text)
	}
	return n
}

// crashRun is one run of the crash test. Its clients have goroutines of their own, the rest
// belongs to the test's.
type crashRun struct {
	t      *testing.T
	random *rand.Rand
	data   string
	ledger *ledger.Ledger
	where  *whereabouts
	rooms  []string

	secure   []string // flags of a listener with TLS, by which everybody comes then
	server   *server
	restarts int
	heads    []map[string]uint64 // of the rooms at each audit
}

// TestKillLosesNothingAcknowledged kills the server with SIGKILL at random moments while
// writers publish, readers read and both come back as clients do. See ledger for what is
// checked, ledger_faults_test.go for the proof that it can fail.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	killLosesNothing(t, int(number(t, roundsVariable, defaultRounds)), nil)
}

// TestKillLosesNothingAcknowledgedOverTLS: the same, with fewer rounds, whoever opens and seals the records.
func TestKillLosesNothingAcknowledgedOverTLS(t *testing.T) {
	certificate, key, _ := certify(t, t.TempDir())
	killLosesNothing(t, int(number(t, roundsVariable, defaultRoundsOverTLS)), []string{"--tls.listen", "127.0.0.1:0", "--tls.cert-files", certificate, "--tls.key-files", key, "--tls.kernel", "auto"})
}

func killLosesNothing(t *testing.T, rounds int, secure []string) {
	seed := number(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Parallel()
	t.Logf("%s=%d %s=%d", seedVariable, seed, roundsVariable, rounds)
	r := &crashRun{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), data: t.TempDir(),
		ledger: ledger.New(contentOf), where: newWhereabouts(), secure: secure,
	}
	for i := range crashRooms {
		r.rooms = append(r.rooms, fmt.Sprintf("room-%d", i))
	}
	r.restart()

	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	// Whatever ends the test, no client outlives it.
	defer readers.Wait()
	defer writers.Wait()
	defer r.giveUp()
	for i := range crashWriters {
		w := &writer{
			ledger: r.ledger, where: r.where, random: rand.New(rand.NewPCG(seed, uint64(1+i))),
			by: transports[i%2], user: fmt.Sprintf("writer-%d", i), rooms: r.rooms,
		}
		writers.Go(func() { w.writeLoop(stop) })
	}
	for i := range crashReaders {
		reader := newReader(r.ledger, r.where, rand.New(rand.NewPCG(seed, uint64(100+i))),
			transports[i%2], fmt.Sprintf("reader-%d", i), r.rooms, i == crashReaders-1)
		readers.Go(reader.readLoop)
	}

	for range rounds {
		r.crash()
		r.restart()
		r.check()
	}
	close(stop)
	r.await(&writers, "the writers' last replies")
	r.endRooms()
	r.await(&readers, "the readers' last messages")
	r.audit(true)
	r.check()
	r.leave()
	t.Logf("%d kills: %s", rounds, r.ledger.Summary())
}

// crash lets the server run for a while and kills it: mostly in the middle of its work,
// sometimes while it drains, and then perhaps while it starts again.
func (r *crashRun) crash() {
	running := time.NewTimer(time.Duration(50+r.random.IntN(450)) * time.Millisecond)
	defer running.Stop()
	select {
	case <-running.C:
	case <-r.server.ended:
		r.t.Fatalf("the server ended by itself: %v\n%s", r.server.cmd.ProcessState, r.server.log())
	}
	draining := r.random.IntN(6) == 0
	if draining {
		r.server.signal(syscall.SIGTERM)
		r.pause(150)
	}
	r.where.set("")
	r.server.kill()
	r.healthy(r.server)
	r.server.forget()
	if r.random.IntN(4) == 0 {
		half, err := r.launch().start()
		if err != nil {
			r.t.Fatal(err)
		}
		r.pause(80)
		half.kill()
		r.healthy(half)
	}
}

// pause waits for up to so many milliseconds, to do what follows at a random moment.
func (r *crashRun) pause(milliseconds int) {
	time.Sleep(time.Duration(r.random.IntN(milliseconds)) * time.Millisecond)
}

// launch alternates between the binary that users have and the one that finds races, with a
// small segment so that files end in the run.
func (r *crashRun) launch() launch {
	l := launch{data: r.data, binary: plainBinary, flags: append([]string{"--log.segment-bytes", "2MiB"}, r.secure...)}
	if r.restarts++; r.restarts%2 == 0 {
		l.binary = raceBinary
	}
	return l
}

func (r *crashRun) restart() {
	r.t.Helper()
	r.server = start(r.t, r.launch())
	r.where.set(r.address())
	r.audit(r.restarts%fullAudit == 0)
}

// address is where clients come.
func (r *crashRun) address() string {
	if r.secure != nil {
		return r.server.secure
	}
	return r.server.address
}

// audit reads what the server has of every room while the clients go on.
func (r *crashRun) audit(all bool) {
	r.t.Helper()
	p, err := login(r.address(), rawTCP, "auditor")
	if err != nil {
		r.t.Fatalf("log in after restart %d: %v", r.restarts, err)
	}
	defer p.conn.Close()
	heads := map[string]uint64{}
	for _, room := range r.rooms {
		after := uint64(0)
		if n := len(r.heads); n >= 2 && !all {
			after = r.heads[n-2][room]
		}
		a := r.ledger.Audit(room, after)
		if err := p.history(room, after, a.Message); err != nil {
			r.t.Errorf("after restart %d: %v", r.restarts, err)
			a.End()
			r.t.Fatal(r.ledger.Verdict())
		}
		a.End()
		heads[room] = a.Last()
	}
	r.heads = append(r.heads, heads)
}

// check ends the run at the first round with a fault.
func (r *crashRun) check() {
	r.t.Helper()
	if faults := r.ledger.Verdict(); faults != "" {
		r.t.Fatalf("after restart %d:\n%s", r.restarts, faults)
	}
}

func (r *crashRun) healthy(s *server) {
	r.t.Helper()
	if fault := s.fault(); fault != "" {
		r.t.Fatalf("the server reported:\n%s", fault)
	}
}

// endRooms publishes what the readers take as the end.
func (r *crashRun) endRooms() {
	r.t.Helper()
	p, err := login(r.address(), rawTCP, "closer")
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.conn.Close()
	for _, room := range r.rooms {
		pub := r.ledger.Publish(room, "closer", lastKey(room))
		reply, err := p.ask(publishRequest(room, pub.Key, contentOf(pub.Key)))
		if err != nil {
			r.t.Fatalf("publish the last message of %s: %v", room, err)
		}
		r.ledger.Acknowledge(pub, reply.GetPublished())
	}
}

// await waits for clients that have only to finish.
func (r *crashRun) await(clients *sync.WaitGroup, what string) {
	r.t.Helper()
	finished := make(chan struct{})
	go func() {
		clients.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(patience):
		r.t.Errorf("%s did not come within %v\n%s", what, patience, r.ledger.Verdict())
		r.giveUp()
		<-finished
		r.t.FailNow()
	}
}

// giveUp ends what the clients wait for; it does nothing to a run that has ended.
func (r *crashRun) giveUp() {
	r.where.end()
	r.server.kill()
}

// leave ends the last server in order; what it says then is true after a restart as well.
func (r *crashRun) leave() {
	r.t.Helper()
	r.where.set("")
	if err := r.server.signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if err := r.server.wait(patience); err != nil {
		r.t.Fatalf("after SIGTERM: %v\n%s", err, r.server.log())
	}
	r.server = start(r.t, r.launch())
	r.audit(true)
	r.check()
}
