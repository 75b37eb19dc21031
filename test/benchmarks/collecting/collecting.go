// Package collecting measures what it costs to collect garbage beside a heap as a million connections make one. The same program
// measures it in a machine whose processor is emulated and on its host, so that one can be told in terms of the other.
package collecting

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"rookery/test/measure"
)

// argument is what a program is started with to measure and nothing else.
const argument = "collecting"

// Cost is that of one collection.
type Cost struct {
	Took time.Duration `json:"took"` // from its beginning to its end, on a processor that has little else to do: median
	Stop time.Duration `json:"stop"` // both stops of the world: the longest of all collections
}

// collections are as many as there were beside a million connections.
const collections = 7

// objects is fewer in tests.
var objects = 1_000_000

// object is as large as what a server keeps for a connection, and has pointers as that has: to what was made at the same time and is near, and
// to what many share and is not.
type object struct {
	near   *[64]byte
	next   *object
	shared [4]*object
	_      [48]uint64
}

// Asked says whether a program is to measure and do nothing else, by what it was started with.
func Asked(args []string) bool { return slices.Equal(args[min(1, len(args)):], []string{argument}) }

// Main measures, says the cost and ends the program.
func Main(out, wrong io.Writer) {
	cost, err := collect(objects, collections)
	if err == nil {
		err = json.NewEncoder(out).Encode(cost)
	}
	if err != nil {
		fmt.Fprintln(wrong, argument+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Run has this program, in a process of its own on a processor of its own, say the cost. The program's main function has to look whether it is asked.
func Run(processor int) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	var said, wrong strings.Builder
	cmd := exec.Command(program, argument)
	cmd.Stdout, cmd.Stderr = &said, &wrong
	if err := measure.OnProcessor(processor, cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, argument, err, wrong.String())
	}
	return said.String(), nil
}

// Parse reads what a program said.
func Parse(text string) (Cost, error) {
	var cost Cost
	if err := json.Unmarshal([]byte(text), &cost); err != nil {
		return cost, fmt.Errorf("cost of collecting %q: %w", text, err)
	}
	if cost.Took <= 0 || cost.Stop <= 0 {
		return cost, fmt.Errorf("cost of collecting %q: it has to be over 0", text)
	}
	return cost, nil
}

func collect(objects, collections int) (Cost, error) {
	// As in the server, one P more than there are processors.
	runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	debug.SetGCPercent(-1)
	table := make([]*object, objects)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range table {
		o := &object{near: new([64]byte)}
		for j := range o.shared {
			o.shared[j] = table[random.IntN(i+1)] // nil for itself
		}
		if i > 0 {
			o.next = table[i-1]
		}
		table[i] = o
	}
	runtime.GC() // what was made is swept
	stop := mutate(table)
	defer stop()
	var took []time.Duration
	for range collections {
		begun := time.Now()
		runtime.GC()
		took = append(took, time.Since(begun))
	}
	var s debug.GCStats
	debug.ReadGCStats(&s)
	if len(s.Pause) < collections {
		return Cost{}, fmt.Errorf("the runtime tells %d stops of %d collections", len(s.Pause), collections)
	}
	slices.Sort(took)
	return Cost{Took: took[len(took)/2], Stop: slices.Max(s.Pause[:collections])}, nil
}

// mutate writes pointers to objects until it is stopped, in bursts as a loop that has something to do now and then: a stop of the world has to wait for
// somebody who works.
func mutate(table []*object) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		turn := time.NewTicker(time.Millisecond)
		defer turn.Stop()
		for i := 0; ; {
			select {
			case <-done:
				return
			case <-turn.C:
			}
			for range min(len(table), 1000) {
				o := table[i%len(table)]
				o.shared[i%len(o.shared)] = table[(i*7919)%len(table)]
				i++
			}
		}
	}()
	return func() { close(done); <-gone }
}
