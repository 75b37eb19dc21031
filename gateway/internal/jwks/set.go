package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// fetchTimeout bounds a fetch from the connection to the last byte.
	fetchTimeout = 10 * time.Second
	// maxDocument is far above any set of keys.
	maxDocument = 512 << 10
	// standardPause lies between two fetches, whatever asks for the second.
	standardPause = 5 * time.Second
	// longestRetry bounds the time between two fetches that fail, however long Refresh is: by then a new key may be in use. The alert
	// RookeryKeysAreOld counts on it.
	longestRetry = 10 * time.Minute
	// leastRefresh bounds what a short max-age can make the server do.
	leastRefresh = time.Minute
	// rememberFor is how long an id that was found to be unknown is not looked for again.
	rememberFor = 5 * time.Minute
)

// Config says where the keys are.
type Config struct {
	// Source is https://…, http:// of this machine, or the path of a file.
	Source string
	// Refresh is the longest time between two fetches. Default 10 min.
	Refresh time.Duration
	// Log gets a line for each change of the keys and each failure. Required.
	Log *slog.Logger

	// soonest is the pause between two fetches: for tests that want many.
	soonest time.Duration
}

// Set is the keys of one source. Its methods are safe for concurrent use, and none but Close waits for the network.
type Set struct {
	// Set at construction.
	cfg     Config
	client  *http.Client // nil: a file
	cancel  context.CancelFunc
	stopped chan struct{}
	bell    chan struct{} // holds one ring: an unknown id was asked for

	table atomic.Pointer[table]

	// Owned by fetchLoop.
	etag     string
	failures int // in a row

	mu sync.Mutex
	// Guarded by mu.
	seen    seen
	began   time.Time // of the last fetch, whatever came of it
	learned time.Time // when the fetch began that brought what is in force or confirmed it

	fetches, failed atomic.Uint64
}

// table is an immutable set of keys.
type table struct {
	byID map[string]Key
	// alone has the only key of an algorithm, by the algorithm.
	alone map[string]Key
	keys  int
}

// CheckSource says why a source can't be one, or nil. It reads a file, but asks no server: that one may be down
// when this one starts.
func CheckSource(source string) error {
	if !strings.Contains(source, "://") {
		text, err := readFile(source)
		if err == nil {
			_, err = parse(text)
		}
		return err
	}
	u, err := url.Parse(source)
	if err != nil || !isURL(source) || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("is no address of a key set; write https://host/path, or the path of a file")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return errors.New("is fetched without TLS, so whoever sits between could slip in keys of their own; write https://, http:// is for this machine only")
	}
	return nil
}

func isURL(source string) bool {
	return strings.HasPrefix(source, "https://") || strings.HasPrefix(source, "http://")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Start begins to fetch. Whoever starts a Set closes it.
func Start(cfg Config) *Set {
	if cfg.Refresh == 0 {
		cfg.Refresh = 10 * time.Minute
	}
	if cfg.soonest == 0 {
		cfg.soonest = standardPause
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Set{cfg: cfg, cancel: cancel, stopped: make(chan struct{}), bell: make(chan struct{}, 1), seen: newSeen()}
	s.table.Store(&table{})
	if isURL(cfg.Source) {
		s.client = &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: fetchTimeout, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
			CheckRedirect: func(r *http.Request, _ []*http.Request) error {
				return fmt.Errorf("it is redirected to %s; name the place itself", r.URL.Redacted())
			},
		}
	}
	go func() {
		defer close(s.stopped)
		s.fetchLoop(ctx)
	}()
	return s
}

// Close ends the goroutine. The keys stay as they are.
func (s *Set) Close() {
	s.cancel()
	<-s.stopped
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
}

// Find gives the key that a token names, or without an id the only one of its algorithm.
func (s *Set) Find(id, algorithm string) (Key, bool) {
	t := s.table.Load()
	if id == "" {
		key, ok := t.alone[algorithm]
		return key, ok
	}
	key, ok := t.byID[id]
	return key, ok && key.Algorithm == algorithm
}

// Wait says after how long a key that was not found may be there: it has a fetch begin soon. 0 means that the set has been
// fetched since the id was first asked for, and that the answer is final.
func (s *Set) Wait(id string) time.Duration {
	now := time.Now()
	s.mu.Lock()
	asked := s.seen.first(id, now)
	learned, next := s.learned, s.began.Add(s.cfg.soonest)
	s.mu.Unlock()
	if learned.After(asked) {
		return 0
	}
	select {
	case s.bell <- struct{}{}:
	default: // it has been told
	}
	return max(0, next.Sub(now)) + time.Second // the fetch takes its time too
}

// Stats are counters since Start and what is in force now.
type Stats struct {
	Keys    int
	Fetches uint64
	Failed  uint64
	Age     time.Duration // since the keys were last fetched, 0 if they never were
}

// Stats gives them.
func (s *Set) Stats() Stats {
	st := Stats{Keys: s.table.Load().keys, Fetches: s.fetches.Load(), Failed: s.failed.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.learned.IsZero() {
		st.Age = time.Since(s.learned)
	}
	return st
}

// fetchLoop is started by Start and ended by Close.
func (s *Set) fetchLoop(ctx context.Context) {
	for {
		pause := s.fetch(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			continue
		case <-s.bell:
		}
		timer.Stop()
		s.mu.Lock()
		early := time.Until(s.began.Add(s.cfg.soonest))
		s.mu.Unlock()
		timer = time.NewTimer(max(0, min(early, pause)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// fetch gets the keys once and says when to do it again.
func (s *Set) fetch(ctx context.Context) (pause time.Duration) {
	select {
	case <-s.bell: // who rang is served by what follows
	default:
	}
	began := time.Now()
	s.mu.Lock()
	s.began = began
	s.mu.Unlock()
	s.fetches.Add(1)
	answer, err := s.get(ctx)
	var keys []Key
	if err == nil && !answer.same {
		keys, err = parse(answer.text)
	}
	if ctx.Err() != nil {
		return s.cfg.Refresh
	}
	if err != nil {
		s.failed.Add(1)
		s.failures++
		pause = min(s.cfg.soonest<<min(s.failures-1, 12), s.cfg.Refresh, longestRetry)
		s.cfg.Log.Warn("the key set can't be fetched, the keys that are known stay good", "source", s.name(),
			"known", s.table.Load().keys, "again_in", pause, "err", err)
		return pause
	}
	s.failures = 0
	if !answer.same {
		s.etag = answer.etag
		s.replace(keys)
	}
	s.mu.Lock()
	s.learned = began
	s.seen.forget(began.Add(-rememberFor))
	s.mu.Unlock()
	if answer.maxAge > 0 {
		return min(max(answer.maxAge, leastRefresh), s.cfg.Refresh)
	}
	return s.cfg.Refresh
}

// replace puts keys in force.
func (s *Set) replace(keys []Key) {
	next := &table{byID: make(map[string]Key), alone: make(map[string]Key), keys: len(keys)}
	count := make(map[string]int)
	for _, key := range keys {
		if key.ID != "" {
			next.byID[key.ID] = key
		}
		next.alone[key.Algorithm] = key
		if count[key.Algorithm]++; count[key.Algorithm] > 1 {
			delete(next.alone, key.Algorithm)
		}
	}
	old := s.table.Swap(next)
	added, gone := 0, 0
	for id := range next.byID {
		if _, known := old.byID[id]; !known {
			added++
		}
	}
	for id := range old.byID {
		if _, stays := next.byID[id]; !stays {
			gone++
		}
	}
	if added > 0 || gone > 0 || old.keys != next.keys {
		s.cfg.Log.Info("the key set changed", "source", s.name(), "keys", next.keys, "new", added, "gone", gone)
	}
}

// answer is what a source said.
type answer struct {
	text   []byte
	same   bool // as the last time
	etag   string
	maxAge time.Duration // 0: it says nothing
}

func (s *Set) get(ctx context.Context) (answer, error) {
	if s.client == nil {
		text, err := readFile(s.cfg.Source)
		return answer{text: text}, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.Source, nil)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if s.etag != "" {
		request.Header.Set("If-None-Match", s.etag)
	}
	response, err := s.client.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the address is said already
		}
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{maxAge: maxAge(response.Header.Get("Cache-Control")), etag: response.Header.Get("ETag")}
	switch {
	case response.StatusCode == http.StatusNotModified && s.etag != "":
		a.same = true
		return a, nil
	case response.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("the answer is %s", response.Status)
	}
	a.text, err = read(response.Body)
	return a, err
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return read(file)
}

func read(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("it is larger than %d bytes, so it is no key set", maxDocument)
	}
	return text, err
}

// maxAge reads the one directive that matters here, RFC 9111 section 5.2.2.1.
func maxAge(header string) time.Duration {
	for directive := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return max(time.Second, time.Duration(seconds)*time.Second)
		}
	}
	return 0
}

// name is the source without a query, which may hold a password.
func (s *Set) name() string {
	if u, err := url.Parse(s.cfg.Source); err == nil && isURL(s.cfg.Source) {
		u.RawQuery = ""
		return u.Redacted()
	}
	return s.cfg.Source
}
