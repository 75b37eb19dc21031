package collecting

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if Asked(os.Args) {
		objects = 1000
		Main(os.Stdout, os.Stderr)
	}
	m.Run()
}

func TestRun(t *testing.T) {
	said, err := Run(0)
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := Parse(said); err != nil || cost.Stop > cost.Took {
		t.Errorf("a collection took %v, of which the world stood for %v, %v", cost.Took, cost.Stop, err)
	}
	if said, err := Run(1 << 12); err == nil {
		t.Errorf("on a processor that is not there it said %q", said)
	}
}

func TestCollect(t *testing.T) {
	cost, err := collect(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if cost.Took <= 0 || cost.Stop <= 0 || cost.Stop > cost.Took {
		t.Errorf("a collection took %v, of which the world stood for %v", cost.Took, cost.Stop)
	}
}

func TestParse(t *testing.T) {
	got, err := Parse("{\"took\":7000000,\"stop\":9000}\n")
	if err != nil || got.Took.Milliseconds() != 7 || got.Stop.Microseconds() != 9 {
		t.Errorf("it is %+v, %v", got, err)
	}
	for _, text := range []string{"", "{}", `{"took":7000000}`, `{"took":-1,"stop":9}`, "killed"} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), "cost of collecting") {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
}
