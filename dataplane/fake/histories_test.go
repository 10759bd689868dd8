package fake_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// model is a plane without a kernel.
type model struct {
	*fake.Balancer
	tables *dataplane.Tables
	writer *fake.Tables
}

func newModel(t testing.TB, flows int) *model {
	t.Helper()
	writer := fake.New(fake.HistoryLimits, fake.HistorySlots)
	tables, err := writer.Tables()
	if err != nil {
		t.Fatal(err)
	}
	tables.Flows = make(dataplane.Flows, flows)
	return &model{fake.NewBalancer(tables, dataplane.NewHash(42)), tables, writer}
}

func (m *model) Tables() *dataplane.Tables { return m.tables }

func (m *model) Apply(step dataplane.Step) error {
	return dataplane.Apply(m.tables, []dataplane.Step{step}, m.writer)
}

func (m *model) Send(p fake.Packet, second uint32) (uint32, error) {
	return m.Balancer.Send(p, second), nil
}

func (m *model) Sweep(second uint32) dataplane.Census {
	return m.tables.Flows.Sweep(second, func(index uint32) bool {
		entry, known := m.tables.Backends[index]
		return known && !entry.Dead
	})
}

// flowTables are sizes from one bucket to more than there are flows.
var flowTables = []int{8, 16, 32, fake.HistoryFlows}

// live goes through a history; the first of the dice chooses the flow table.
func live(t testing.TB, dice []byte, say func(string, ...any)) (fake.Seen, error) {
	t.Helper()
	size := 0
	if len(dice) > 0 {
		size, dice = int(dice[0]), dice[1:]
	}
	history := fake.NewHistory(newModel(t, flowTables[size%len(flowTables)]), dataplane.NewHash(42), dice, say)
	err := history.Run()
	return history.Seen, err
}

// hold tells a history if a promise is broken in it, as short as can be.
func hold(t testing.TB, dice []byte) fake.Seen {
	t.Helper()
	seen, err := live(t, dice, nil)
	if err != nil {
		dice = fake.Shorten(dice, func(dice []byte) bool {
			_, err := live(t, dice, nil)
			return err != nil
		})
		t.Logf("the history of %q:", dice)
		_, err = live(t, dice, t.Logf)
		t.Fatal(err)
	}
	return seen
}

func TestPromisesHoldInEveryHistory(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var sum fake.Seen
	for range 2000 {
		dice := make([]byte, 1500)
		for i := range dice {
			dice[i] = byte(random.Uint32())
		}
		sum.Add(hold(t, dice))
	}
	t.Logf("%+v", sum)
	if tame := sum.Tame(); tame != "" {
		t.Errorf("the histories prove little: no %s", tame)
	}
}

func FuzzHistories(f *testing.F) {
	f.Fuzz(func(t *testing.T, dice []byte) { hold(t, dice) })
}
