package maglev

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden table anew; every balancer of a fleet must then be upgraded at once")

// primes are table sizes from the absurd to the usual.
var primes = []int{2, 3, 13, 251, 257, 4093, 65537}

func TestBuildGivesNoTableWhereThereCanBeNone(t *testing.T) {
	one := []Member{{"a", 1}}
	for _, row := range []struct {
		promise string
		members []Member
		slots   int
	}{
		{"no members", nil, 13},
		{"only members of weight zero", []Member{{"a", 0}, {"b", 0}}, 13},
		{"only members of negative weight", []Member{{"a", -1}}, 13},
		{"a number of slots that is not a prime", one, 65536},
		{"the square of a prime", one, 49},
		{"one slot", one, 1},
		{"no slots", one, 0},
		{"fewer than no slots", one, -13},
		{"more slots than there may be", one, MaxSlots + 3},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if owners := Build(row.members, row.slots); owners != nil {
				t.Errorf("got a table of %d slots", len(owners))
			}
		})
	}
}

func TestBuildFollowsThePaperSlotForSlot(t *testing.T) {
	random := seeded(t)
	for range 300 {
		slots := primes[random.IntN(len(primes)-1)]
		members := drawMembers(random, 1+random.IntN(40))
		same(t, members, byKey(members, Build(members, slots)), byKey(members, plain(members, slots)))
	}
	members := drawMembers(random, 1000)
	same(t, members, byKey(members, Build(members, 65537)), byKey(members, plain(members, 65537)))
}

func TestOwnersDoNotDependOnTheOrderOfMembers(t *testing.T) {
	random := seeded(t)
	for range 100 {
		slots := primes[random.IntN(len(primes))]
		members := drawMembers(random, 1+random.IntN(60))
		members = append(members, Member{members[0].Key, 1 + random.IntN(256)}) // a key twice
		before := byKey(members, Build(members, slots))
		random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		same(t, members, byKey(members, Build(members, slots)), before)
	}
}

func TestOfMembersWithOneKeyTheHeaviestCounts(t *testing.T) {
	twice := []Member{{"a", 1}, {"b", 2}, {"a", 3}, {"a", 2}}
	once := []Member{{"a", 3}, {"b", 2}}
	same(t, twice, byKey(twice, Build(twice, 251)), byKey(once, Build(once, 251)))
}

// samePhase are keys with the same 32 bits of phase, found by search.
var samePhase = [2]string{"10.0.254.183", "10.1.87.37"}

func TestTwoKeysOfOnePhaseAreToldApartByTheirKeys(t *testing.T) {
	random := seeded(t)
	members := append(drawMembers(random, 5), Member{samePhase[0], 2}, Member{samePhase[1], 2})
	turns := draw(members[5:])
	if turns[0].phase != turns[1].phase {
		t.Fatalf("%s and %s differ in phase", samePhase[0], samePhase[1])
	}
	before := byKey(members, Build(members, 251))
	slices.Reverse(members)
	same(t, members, byKey(members, Build(members, 251)), before)
}

func TestMembersOfEqualWeightDifferByOneSlotAtMost(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 100, 1000, 10000, 65537, 70000} {
		counts := count(numbered(n, func(int) int { return 7 }), 65537)
		if least, most := slices.Min(counts), slices.Max(counts); most-least > 1 {
			t.Errorf("%d members own from %d to %d slots", n, least, most)
		}
	}
}

// TestSharesFollowWeights holds the bound of the package's documentation, which
// is within 1 % for every member that is due 112 slots or more.
func TestSharesFollowWeights(t *testing.T) {
	random := seeded(t)
	for range 40 {
		checkShares(t, drawMembers(random, 2+random.IntN(1000)), 65537)
	}
	checkShares(t, numbered(1001, func(i int) int { return 1 + 255*(i/1000) }), 65537) // one heavy, a thousand light
	checkShares(t, numbered(1000, func(i int) int { return 1 + i%2 }), 65537)
	checkShares(t, numbered(2, func(i int) int { return 1 + 255*i }), 65537)
}

func checkShares(t *testing.T, members []Member, slots int) {
	t.Helper()
	sum := 0
	for _, m := range members {
		sum += m.Weight
	}
	for i, got := range count(members, slots) {
		due := float64(slots) * float64(members[i].Weight) / float64(sum)
		if math.Abs(float64(got)-due) > 1+due/1000 {
			t.Errorf("%s of %d members, weight %d of %d, owns %d slots where %.1f are due",
				members[i].Key, len(members), members[i].Weight, sum, got, due)
		}
	}
}

func TestAMemberOfWeightZeroOwnsNothingAndChangesNothing(t *testing.T) {
	members := []Member{{"a", 1}, {"b", 0}, {"c", 2}}
	without := []Member{{"a", 1}, {"c", 2}}
	same(t, members, byKey(members, Build(members, 251)), byKey(without, Build(without, 251)))
}

// TestRemovalMovesLittleElse states what Maglev gives up for its even shares:
// beside the slots of the member that goes, some of the others' move too. The
// log says how many.
func TestRemovalMovesLittleElse(t *testing.T) {
	for _, n := range []int{2, 5, 10, 100, 1000, 6000} {
		for _, weights := range []struct {
			name string
			of   func(int) int
		}{
			{"equal weights", func(int) int { return 1 }},
			{"weights from 1 to 10", func(i int) int { return 1 + i%10 }},
		} {
			members := numbered(n, weights.of)
			gone := n / 2
			before := byKey(members, Build(members, 65537))
			rest := slices.Delete(slices.Clone(members), gone, gone+1)
			after := byKey(rest, Build(rest, 65537))
			others := 0
			for slot, key := range before {
				if key != members[gone].Key && after[slot] != key {
					others++
				}
			}
			excess := float64(others) / 65537
			t.Logf("%5d members, %-20s one removed, %.3f %% of the slots moved between others", n, weights.name, 100*excess)
			if excess > 0.01 {
				t.Errorf("removing one of %d members moved %d slots between the others", n, others)
			}
		}
	}
}

// TestTheTableNeverChanges pins one table: balancers of different versions in
// one fleet must agree on it.
func TestTheTableNeverChanges(t *testing.T) {
	const file = "testdata/golden.txt"
	members := []Member{{"192.0.2.1", 1}, {"192.0.2.2", 1}, {"192.0.2.3:8080", 3}, {"2001:db8::1", 10}, {"[2001:db8::1]:443", 0}}
	var got strings.Builder
	for slot, key := range byKey(members, Build(members, 251)) {
		fmt.Fprintf(&got, "%d %s\n", slot, key)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the table differs from %s:\n%s", file, got.String())
	}
}

func FuzzBuild(f *testing.F) {
	f.Fuzz(func(t *testing.T, keys string, weights []byte, prime uint8) {
		var members []Member
		for i, key := range strings.Split(keys, ",") {
			if i < len(weights) {
				members = append(members, Member{key, int(weights[i])})
			}
		}
		slots := primes[int(prime)%(len(primes)-1)]
		owners := Build(members, slots)
		if len(draw(members)) == 0 {
			if owners != nil {
				t.Fatal("a table without members")
			}
			return
		}
		same(t, members, byKey(members, owners), byKey(members, plain(members, slots)))
		reversed := slices.Clone(members)
		slices.Reverse(reversed)
		same(t, members, byKey(reversed, Build(reversed, slots)), byKey(members, owners))
		for slot, owner := range owners {
			if int(owner) >= len(members) || members[owner].Weight == 0 {
				t.Fatalf("slot %d belongs to member %d", slot, owner)
			}
		}
	})
}
