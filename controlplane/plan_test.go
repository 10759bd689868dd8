package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/dataplane"
)

// plan asks the daemon what it would make of a file.
func (s *stage) plan(data []byte) api.Plan {
	file, err := config.Parse("pointsman.hcl", data)
	if err != nil {
		s.t.Fatal(err)
	}
	asked := planning{file, make(chan api.Plan, 1)}
	s.daemon.inbox.put(func(m *mail) { m.plans = append(m.plans, asked) })
	return <-asked.answer
}

// planned is a plan in lines.
func planned(p api.Plan) string {
	var b strings.Builder
	for _, s := range p.Services {
		fmt.Fprintf(&b, "%s %s, %.1f %% move%s\n", s.Change, s.Name, 100*s.MovedShare, because(s.Unknown))
		for _, line := range append(s.VIPs, s.Settings...) {
			fmt.Fprintf(&b, "  %s\n", line)
		}
		for _, backend := range s.Backends {
			fmt.Fprintf(&b, "  %s %s: %s\n", backend.Change, backend.Address, backend.Detail)
		}
	}
	for _, line := range append(p.Interfaces, p.Warnings...) {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// randomFile declares one service of a random size with random backends.
func randomFile(random *rand.Rand) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "interfaces = [\"eth0\"]\nvip_pools = [\"192.0.2.0/24\"]\nservice \"web\" {\n  listen = [\"192.0.2.10:443/tcp\"]\n  slots = %d\n",
		[]int{251, 509, 1021}[random.IntN(3)])
	for i := range 1 + random.IntN(6) {
		fmt.Fprintf(&b, "  backend \"10.20.0.%d\" { weight = %d }\n", 11+i, 1+random.IntN(3))
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

// owners are those of the slots that the VIP leads to.
func (s *stage) owners() (owners []dataplane.ID) {
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range tables.VIPs {
		for _, index := range tables.Slots[entry.FirstSlot:][:entry.SlotCount] {
			owners = append(owners, tables.Backends[index].ID)
		}
	}
	return owners
}

func TestAPlanChangesNothingAndComesTrue(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("repeat with seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.end() }()
		s.start(randomFile(random))
		synctest.Wait()
		for range 40 {
			file := randomFile(random)
			before, scene := s.owners(), s.scene()
			plan := s.plan(file)
			synctest.Wait()
			if now := s.scene(); now != scene {
				t.Fatalf("a plan changed what runs from\n%s\nto\n%s", scene, now)
			}
			s.event("reload", "", "", file)
			synctest.Wait()
			after := s.owners()
			share := 0.0
			if len(plan.Services) > 0 {
				share = plan.Services[0].MovedShare
			}
			// A point in the middle of each of m·n parts of the range of hashes.
			parts, moved := len(before)*len(after), 0
			for i := range parts {
				if before[i/len(after)] != after[i/len(before)] {
					moved++
				}
			}
			if happened := float64(moved) / float64(parts); happened != share {
				t.Errorf("%v moved, and the plan said %v, for\n%s", happened, share, file)
			}
			if again := s.plan(file); again.Changes {
				t.Errorf("what runs already would be changed: %+v", again)
			}
		}
	})
}

func TestAPlanIsOfTheFileAsItIsNow(t *testing.T) {
	h := newHousehold(t)
	end := h.run(t)
	defer end()
	h.log.await(t, "attached")
	client := api.NewClient(h.Socket)
	expect := func(when string, changes bool) {
		t.Helper()
		if plan, err := client.Plan(t.Context()); err != nil || plan.Changes != changes || plan.Path != h.ConfigPath {
			t.Errorf("%s: got %+v, %v", when, plan, err)
		}
	}
	expect("the file that runs", false)
	h.write(t, strings.ReplaceAll(lonely, `"web"`, `"www"`))
	expect("another file", true)
	expect("and again, since a plan is none of its doing", true)
	if _, err := client.Reload(t.Context(), api.ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	expect("once it is taken", false)
	h.write(t, lonely+"\nfoo = 1\n")
	_, err := client.Plan(t.Context())
	var problem *api.Problem
	if !errors.As(err, &problem) || len(problem.Mistakes) != 1 {
		t.Errorf("of a file with a mistake: got %v", err)
	}
}
