package kernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// live goes through one history, anew if the clock moved under it.
func (w *twins) live(dice []byte, say func(string, ...any)) (fake.Seen, error) {
	for {
		if err := w.reset(); err != nil {
			return fake.Seen{}, err
		}
		history := fake.NewHistory(w, dataplane.NewHash(historySecret), dice, say)
		err := history.Run()
		if errors.Is(err, errClockMoved) {
			continue
		}
		return history.Seen, errors.Join(err, w.same())
	}
}

// hold tells a history in which program and model differ, or a promise is
// broken, as short as can be.
func (w *twins) hold(t testing.TB, dice []byte) fake.Seen {
	t.Helper()
	seen, err := w.live(dice, nil)
	if err != nil {
		dice = fake.Shorten(dice, func(dice []byte) bool {
			_, err := w.live(dice, nil)
			return err != nil
		})
		t.Logf("the history of %q:", dice)
		_, err = w.live(dice, t.Logf)
		t.Fatal(err)
	}
	return seen
}

// flowTables are sizes from one bucket to more than there are flows.
var flowTables = []uint32{8, 16, 32, fake.HistoryFlows}

func TestPrivilegedTheProgramChoosesAsTheModelDoes(t *testing.T) {
	dir := pinDir(t)
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
	histories := 800
	if testing.Short() {
		histories = 50
	}
	for _, flows := range flowTables {
		t.Run(fmt.Sprintf("with room for %d flows", flows), func(t *testing.T) {
			var sum fake.Seen
			var refused uint64
			both := newTwins(t, dir, flows)
			for range histories {
				dice := make([]byte, 200+random.IntN(1500))
				for i := range dice {
					dice[i] = byte(random.Uint32())
				}
				sum.Add(both.hold(t, dice))
				refused += both.model.Events.Refused
			}
			t.Logf("%+v, %d flows refused", sum, refused)
			if tame := sum.Tame(); tame != "" || flows < fake.HistoryFlows && (refused == 0 || sum.Explained[dataplane.ByFullTable] == 0) {
				t.Errorf("the histories prove little: no %s, and %d flows refused", tame, refused)
			}
		})
	}
}

// FuzzPrivilegedHistories shares its corpus with FuzzHistories of the model,
// which the fuzzer can see into: what that finds is worth copying here.
func FuzzPrivilegedHistories(f *testing.F) {
	dir := pinDir(f)
	var both []*twins
	for _, flows := range flowTables {
		both = append(both, newTwins(f, dir, flows))
	}
	f.Fuzz(func(t *testing.T, dice []byte) {
		if len(dice) > 0 {
			both[int(dice[0])%len(both)].hold(t, dice[1:])
		}
	})
}
