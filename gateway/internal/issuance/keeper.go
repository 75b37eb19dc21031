package issuance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/accept"
)

// Config says of whom certificates are had and for which names.
type Config struct {
	// Names are those that certificates are for, one each. A name that Check refuses must not be among them.
	Names []string
	// Directory is the address of the authority's directory.
	Directory string
	// Email is told to the authority. Empty: none.
	Email string
	// Profile is one of the authority's, empty is its default.
	Profile string
	// KeyID and MACKey bind the account to a customer of the authority. Empty: they do not.
	KeyID  string
	MACKey []byte
	// Roots are whom to believe that the authority is it, nil: the system's.
	Roots *x509.CertPool
	// Folder is where the account's key and the certificates are.
	Folder string
	// HTTP has the authority ask by HTTP, at this listener, which is the Keeper's from Open on. nil: it asks at the listener for TLS.
	HTTP net.Listener
	// Redirect has names that are asked for anything else by HTTP answered with their https://.
	Redirect bool
	// Faults counts accepts at HTTP that failed. It must be set where that is.
	Faults *accept.Faults
	Log    *slog.Logger
	// Pauses are for tests: the zero value is what the authority is to be spared.
	Pauses Pauses
}

// Keeper has certificates and renews them. Its methods are safe for concurrent use.
type Keeper struct {
	// Set by Open.
	cfg    Config
	folder folder
	wake   chan struct{} // a look is due before its time
	ctx    context.Context
	cancel context.CancelFunc
	http   *http.Server // by Start; nil without Config.HTTP

	Counters Counters

	running   sync.WaitGroup
	held      atomic.Pointer[[]held]      // replaced as a whole, in the order of the names
	challenge atomic.Pointer[answer]      // nil while nothing is asked
	wanted    atomic.Pointer[wantedNames] // by Use

	// Owned by orderLoop.
	states map[string]*state
	seen   *wantedNames // what states are for
	quiet  quiet
	mute   time.Time // the authority is not asked before when to renew
}

// Counters are what the metrics read.
type Counters struct {
	Orders atomic.Int64 // that were begun
	Failed [len(reasonNames)]atomic.Int64
}

type wantedNames struct{ names []string }

// held is what there is for a name.
type held struct {
	name        string
	certificate *tls.Certificate // nil: none
}

// state is what orderLoop knows of a name.
type state struct {
	held
	unsaved  []byte    // its file, where it could not be written
	past     attempts  // as a restart will know of them
	renew    time.Time // when it is due
	ask      time.Time // when the authority is asked next whether that is soon enough
	window   window    // what it has said
	failures int       // since the last success
	next     time.Time // nothing is tried before
	limited  time.Time // the same, by the authority's own word, which nobody here sets aside
}

// Open reads what is in the folder. Nobody is asked anything yet: Start does.
func Open(cfg Config) (*Keeper, error) {
	f, err := openFolder(cfg.Folder, cfg.Directory)
	if err != nil {
		return nil, err
	}
	k := &Keeper{cfg: cfg, folder: f, wake: make(chan struct{}, 1), states: map[string]*state{}}
	k.cfg.Pauses = cfg.Pauses.orDefault()
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.wanted.Store(&wantedNames{cfg.Names})
	k.adopt()
	return k, nil
}

// Start begins to order, and to answer by HTTP.
func (k *Keeper) Start() {
	if k.cfg.HTTP != nil {
		k.serveHTTP()
	}
	k.running.Go(k.orderLoop)
}

// Close ends an order that is under way, and lets the next process have its turn.
func (k *Keeper) Close() {
	k.cancel()
	if k.http != nil {
		// The connections that are open end, too, which they would not with the listener alone.
		k.http.Close()
	} else if k.cfg.HTTP != nil {
		k.cfg.HTTP.Close()
	}
	k.running.Wait()
}

// Use has the certificates be for other names. What failed is tried at once, but for what the authority has said to wait for.
func (k *Keeper) Use(names []string) {
	k.wanted.Store(&wantedNames{names})
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// shown goes through what there is for the names that are wanted now: orderLoop comes to another list of them when an order is over.
func (k *Keeper) shown(yield func(held) bool) {
	wanted := k.wanted.Load().names
	for _, h := range *k.held.Load() {
		if slices.Contains(wanted, h.name) && !yield(h) {
			return
		}
	}
}

// Get is the certificate for a name, nil if there is none.
func (k *Keeper) Get(name string) *tls.Certificate {
	for h := range k.shown {
		if strings.EqualFold(h.name, name) {
			return h.certificate
		}
	}
	return nil
}

// First is the certificate for who names none that is here, nil if there is none.
func (k *Keeper) First() *tls.Certificate {
	for h := range k.shown {
		if h.certificate != nil {
			return h.certificate
		}
	}
	return nil
}

// Missing are the names without a certificate.
func (k *Keeper) Missing() (names []string) {
	for h := range k.shown {
		if h.certificate == nil {
			names = append(names, h.name)
		}
	}
	return names
}

// Overdue is how many names have no certificate, or one that should have been renewed long ago.
func (k *Keeper) Overdue(now time.Time) (n int) {
	for h := range k.shown {
		if h.certificate == nil || now.After(overdueTime(h.certificate.Leaf)) {
			n++
		}
	}
	return n
}

// Expires is when the first certificate does, zero if there is none.
func (k *Keeper) Expires() (first time.Time) {
	for h := range k.shown {
		if h.certificate != nil && (first.IsZero() || h.certificate.Leaf.NotAfter.Before(first)) {
			first = h.certificate.Leaf.NotAfter
		}
	}
	return first
}

// longestSleep is how long nothing is looked at. A timer stands still while a machine sleeps, and the clock may be set.
const longestSleep = 10 * time.Minute

// orderLoop is started by Start and ended by Close.
func (k *Keeper) orderLoop() {
	release := k.awaitTurn()
	if release == nil {
		return
	}
	defer release()
	for {
		if k.wanted.Load() != k.seen {
			k.adopt()
		}
		k.orderDue()
		sleep := time.NewTimer(min(time.Until(k.nextDue()), longestSleep))
		select {
		case <-k.ctx.Done():
			sleep.Stop()
			return
		case <-k.wake:
			sleep.Stop()
		case <-sleep.C:
		}
	}
}

// awaitTurn waits until no other process orders for the same folder, as the one before does while this one takes over from it. Meanwhile
// what that one has stored is used. nil: Close came first.
func (k *Keeper) awaitTurn() (release func()) {
	for told := false; ; {
		release, err := k.folder.lock()
		k.refresh()
		if err == nil {
			return release
		}
		if k.wanted.Load() != k.seen {
			k.adopt()
		}
		if !told {
			told = true
			if errors.Is(err, errOthersTurn) {
				k.cfg.Log.Info("another process sees to the certificates, this one waits for its turn", "folder", k.folder.dir)
			} else {
				k.Counters.Failed[folderFails].Add(1)
				k.cfg.Log.Error("no certificates are ordered", "err", err, "to_do", "let the server's user write to tls.acme.folder, on a disk with flock; it is tried again all the time")
			}
		}
		select {
		case <-k.ctx.Done():
			return nil
		case <-time.After(k.cfg.Pauses.Turn):
		}
	}
}

// refresh takes what another process has stored meanwhile.
func (k *Keeper) refresh() {
	for _, s := range k.states {
		certificate, err := k.folder.certificate(s.name)
		if err == nil && (s.certificate == nil || certificate.Leaf.NotAfter.After(s.certificate.Leaf.NotAfter)) {
			s.take(certificate)
		}
		k.remember(s)
	}
	k.show()
}

// adopt makes states for the names that are wanted now: those that were there go on, for new ones the folder is read.
func (k *Keeper) adopt() {
	wanted := k.wanted.Load()
	states := make(map[string]*state, len(wanted.names))
	for _, name := range wanted.names {
		s := k.states[name]
		if s != nil {
			s.failures, s.next = 0, time.Time{}
		} else {
			s = &state{held: held{name: name}}
			if certificate, err := k.folder.certificate(name); err == nil {
				s.take(certificate)
			} else if !isMissing(err) {
				k.cfg.Log.Error("a stored certificate can't be used, another one is ordered", "name", name, "err", err)
			}
			k.remember(s)
			if k.seen != nil { // not at the start, but since somebody wants it to be tried now
				s.next = time.Time{}
			} else if due := s.due(); s.failures > 0 && due.After(time.Now()) && time.Now().After(s.renew) {
				k.cfg.Log.Warn("orders before this start came to nothing, and the authority is spared until next; SIGHUP tries at once, unless it has said when",
					"name", s.name, "attempts", s.failures, "next", due)
			}
		}
		states[name] = s
	}
	k.states, k.seen, k.quiet = states, wanted, quiet{limited: k.quiet.limited}
	k.show()
}

// show has handshakes see what the states have.
func (k *Keeper) show() {
	table := make([]held, 0, len(k.seen.names))
	for _, name := range k.seen.names {
		table = append(table, k.states[name].held)
	}
	k.held.Store(&table)
}

// take has a certificate be in force.
func (s *state) take(certificate *tls.Certificate) {
	s.certificate = certificate
	s.renew = renewTime(certificate.Leaf)
	s.ask, s.window = time.Time{}, window{}
	s.failures, s.next, s.limited = 0, time.Time{}, time.Time{}
}

// orderDue orders what is due, in the order of the names. With an authority that can't be reached the others wait too.
func (k *Keeper) orderDue() {
	for _, name := range k.seen.names {
		s := k.states[name]
		now := time.Now()
		if k.ctx.Err() != nil || now.Before(k.quiet.end()) {
			return
		}
		if k.wanted.Load() != k.seen {
			return // the rest may not be wanted any more
		}
		if s.certificate != nil && now.Before(s.renew) && !now.Before(s.ask) && !now.Before(k.mute) {
			k.consult(s)
		}
		if time.Now().Before(s.due()) {
			continue
		}
		k.see(s)
	}
}

// due is when something is to be done for a name.
func (s *state) due() time.Time {
	if s.unsaved != nil {
		return s.next
	}
	return slices.MaxFunc([]time.Time{s.renew, s.next, s.limited}, time.Time.Compare)
}

func (k *Keeper) nextDue() time.Time {
	next := time.Now().Add(longestSleep)
	for _, s := range k.states {
		if due := s.due(); due.Before(next) {
			next = due
		}
	}
	if quiet := k.quiet.end(); next.Before(quiet) {
		return quiet
	}
	return next
}

// see stores what could not be stored, or orders.
func (k *Keeper) see(s *state) {
	if s.unsaved != nil {
		if err := k.folder.write(certificateFile(s.name), s.unsaved); err != nil {
			k.failed(s, folderFault(err))
			return
		}
		s.unsaved, s.failures, s.next = nil, 0, time.Time{}
		k.cfg.Log.Info("the certificate is stored now", "name", s.name)
		return
	}
	if err := k.begin(s); err != nil {
		k.failed(s, folderFault(err))
		return
	}
	k.Counters.Orders.Add(1)
	given, err := k.order(s.name)
	if err != nil {
		if k.ctx.Err() != nil {
			k.end(s, false)
			return
		}
		f := judge(err)
		k.failed(s, f)
		k.end(s, f.reason != unreachable && f.reason != folderFails)
		return
	}
	k.quiet = quiet{}
	// First, so that what clients are shown outlives this process.
	unsaved := k.folder.write(certificateFile(s.name), given.file)
	k.given(s, given.certificate)
	k.show()
	k.cfg.Log.Info("a certificate was obtained", "name", s.name, "expires", given.certificate.Leaf.NotAfter, "renewed_from", s.renew)
	if unsaved != nil {
		s.unsaved = given.file
		k.failed(s, folderFault(unsaved))
	}
}

// given has a new certificate be in force. One whose dates have it be due at once is no success: where the clock is wrong so is the next one,
// and an authority gives few for a name in a week.
func (k *Keeper) given(s *state, certificate *tls.Certificate) {
	now, failures := time.Now(), s.failures
	s.take(certificate)
	due := !now.Before(s.renew)
	if due {
		s.failures = failures + 1
	}
	s.next = now.Add(k.cfg.Pauses.after(refused, &state{held: s.held, failures: max(s.failures, 1)}))
	if leaf := certificate.Leaf; due || now.Before(leaf.NotBefore) {
		k.cfg.Log.Warn("the certificate that was given is due for renewal already, or not good yet: see whether the clock of this machine is right",
			"name", s.name, "from", leaf.NotBefore, "expires", leaf.NotAfter, "next", s.due())
	}
	if !due {
		s.past = attempts{}
	}
	k.end(s, due)
}

// failed notes what came to nothing, and when it is tried again.
func (k *Keeper) failed(s *state, f fault) {
	k.Counters.Failed[f.reason].Add(1)
	now := time.Now()
	s.failures++
	next := now.Add(k.cfg.Pauses.after(f.reason, s))
	if f.reason == unreachable {
		k.quiet.failures++
		next = now.Add(k.cfg.Pauses.after(f.reason, &state{held: s.held, failures: k.quiet.failures}))
		k.quiet.until = next
	}
	if !f.notBefore.IsZero() {
		s.limited = f.notBefore
		if f.reason == unreachable {
			k.quiet.limited = f.notBefore
		}
	}
	s.next = next
	level := slog.LevelWarn
	if s.certificate == nil || now.After(overdueTime(s.certificate.Leaf)) {
		level = slog.LevelError
	}
	args := []any{"name", s.name, "reason", reasonNames[f.reason], "err", f.err, "to_do", f.advice, "attempts", s.failures, "next", s.due().Round(time.Second)}
	if s.certificate != nil {
		args = append(args, "expires", s.certificate.Leaf.NotAfter)
	}
	k.cfg.Log.Log(context.Background(), level, "no certificate was obtained", args...)
}
