package wild_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

var update = flag.Bool("update", false, "look for cases of the corpus that show their kind no longer")

const (
	corpus        = "../../../dataplane/kernel/testdata/fuzz/FuzzPrivilegedOracle"
	corpusOfLives = "../../../dataplane/kernel/testdata/fuzz/FuzzPrivilegedLives"
)

// moment is a packet that has met its fate by the oracle.
type moment struct {
	*oracle.Balancer
	oracle.Arrival
	oracle.Fate
	remembered dataplane.FlowCounters // for this packet
	before     dataplane.Flows        // that were remembered
	// connections are those that were there before, by their place.
	connections []*oracle.Connection
}

// otherwise is the fate of the packet, had it been another one.
func (m moment) otherwise(change func(frame []byte)) oracle.Fate {
	b := oracle.New(m.Tables.Clone(), m.Hash, m.Settings)
	for place := range m.connections {
		if c := m.place(place); c != nil {
			b.Hold(place, *c)
		}
	}
	for key, way := range m.Balancer.Fragments {
		b.Fragments[key] = way
	}
	a := m.Arrival
	a.Frame = slices.Clone(a.Frame)
	change(a.Frame)
	return b.Receive(a)
}

// remember is a copy of the table of nat.
func remember(table *oracle.Connections) (all []*oracle.Connection) {
	for _, line := range table.Lines {
		for _, connection := range line {
			if connection != nil {
				own := *connection
				connection = &own
			}
			all = append(all, connection)
		}
	}
	return all
}

// play shows a case to the oracle until somebody has seen enough.
func play(dice []byte, enough func(moment) bool) bool {
	c := wild.NewCase(dice, wild.Interfaces{Loopback: 1, Egress: 2, Missing: 3})
	return watch(c.World, c, enough)
}

// playLives does so with lives.
func playLives(dice []byte, enough func(moment) bool) bool {
	lives := wild.NewLives(dice, wild.Interfaces{Loopback: 1, Egress: 2, Missing: 3})
	return watch(lives.World, lives, enough)
}

// drawn is what happens in a world.
type drawn interface {
	Next() (wild.Event, bool)
	Met(oracle.Fate)
}

func watch(world *wild.World, c drawn, enough func(moment) bool) bool {
	b := oracle.New(world.Tables(), dataplane.NewHash(wild.Secret), oracle.Settings{
		ErrorsPerSecond: 2, Holds: world.Holds, Connections: wild.Connections, MTU: map[uint32]int{1: 65536, 2: 1300},
	})
	for place, connection := range world.Connections {
		if connection != nil {
			b.Hold(place, *connection)
		}
	}
	for {
		event, more := c.Next()
		if !more {
			return false
		}
		for _, change := range event.Changes {
			b.Change(change)
		}
		before := b.Flows.Events
		m := moment{Balancer: b, Arrival: event.Arrival, before: slices.Clone(b.Tables.Flows), connections: remember(b.Connections)}
		m.Fate = b.Receive(event.Arrival)
		c.Met(m.Fate)
		m.remembered = dataplane.FlowCounters{
			Inserted: b.Flows.Events.Inserted - before.Inserted,
			Evicted:  b.Flows.Events.Evicted - before.Evicted,
			Refused:  b.Flows.Events.Refused - before.Refused,
		}
		if enough(m) {
			return true
		}
	}
}

// TestTheCorpusHasACaseOfEachKind holds each case of the corpus to its name: what
// is drawn from dice changes with the dice's use. With -update, cases that show
// their kind no longer are looked for anew.
func TestTheCorpusHasACaseOfEachKind(t *testing.T) {
	holdCorpus(t, corpus, kinds(), play, wild.Shorten)
}

func TestTheCorpusOfLivesHasOneOfEachKind(t *testing.T) {
	holdCorpus(t, corpusOfLives, livesKinds(), playLives, wild.ShortenLives)
}

type (
	player    func(dice []byte, enough func(moment) bool) bool
	shortener func(dice []byte, isSo func([]byte) bool) []byte
)

func holdCorpus(t *testing.T, corpus string, kinds map[string]func(moment) bool, play player, shorten shortener) {
	for name, isOfKind := range kinds {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(corpus, name)
			dice, err := readCase(path)
			if err == nil && play(dice, isOfKind) {
				return
			}
			if !*update {
				t.Fatalf("there is no such packet in %s (%v): look for one with -update", path, err)
			}
			dice = look(t, isOfKind, play, shorten)
			if err := os.WriteFile(path, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", dice), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// look finds a case of a kind, as short as can be.
func look(t *testing.T, isOfKind func(moment) bool, play player, shorten shortener) []byte {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	dice := make([]byte, 14000)
	for range 20000 {
		random.Read(dice)
		if play(dice, isOfKind) {
			return shorten(dice, func(dice []byte) bool { return play(dice, isOfKind) })
		}
	}
	t.Fatal("there seems to be no such packet")
	return nil
}

func readCase(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	quoted, _ := strings.CutPrefix(strings.TrimSpace(string(text)), "go test fuzz v1\n[]byte(")
	dice, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
	return []byte(dice), err
}
