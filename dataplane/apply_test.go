package dataplane_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

func TestApplyStopsAtTheFirstFailureAndTheNextDiffHeals(t *testing.T) {
	before := State{Services: []Service{service("api", 1, 2), service("web", 0, 0, 1)}}
	after := State{Services: []Service{with(service("web", 0, 1, 3), func(s *Service) { s.Slots = 13 }), service("zeta", 1, 2)}}
	plane := settledPlane(t, before)
	have := held(t, plane)
	steps, _ := Diff(have, after)
	for n := range steps {
		plane := settledPlane(t, before)
		have := held(t, plane)
		plane.FailAfter(n)
		err := Apply(have, steps, plane)
		if !errors.Is(err, fake.ErrInjected) || !strings.Contains(err.Error(), steps[n].String()) {
			t.Fatalf("step %d: got the error %v", n, err)
		}
		if got := plane.Steps(); len(got) != n {
			t.Fatalf("%d steps were taken instead of %d", len(got), n)
		}
		if !reflect.DeepEqual(have, held(t, plane)) {
			t.Fatalf("after %d steps the tables are not what the data plane holds", n)
		}
		plane.FailAfter(-1)
		rest, problems := Diff(have, after)
		if err := Apply(have, rest, plane); err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		checkHeld(t, have, held(t, plane), after, nil)
	}
}

func TestApplyDoesNotReplayWhatWasRefused(t *testing.T) {
	plane := fake.New(roomy, 10)
	have := held(t, plane)
	plane.FailOn(func(step Step) error {
		if _, egress := step.(PutEgress); egress {
			return errors.New("no such interface")
		}
		return nil
	})
	err := Apply(have, []Step{PutEgress{7}}, plane)
	if err == nil || err.Error() != "trying to allow egress to interface 7: no such interface" {
		t.Errorf("got the error %v", err)
	}
	if len(have.Egress) > 0 {
		t.Error("the step was replayed")
	}
}

func settledPlane(t *testing.T, state State) *fake.Tables {
	t.Helper()
	plane := fake.New(roomy, 100)
	have := held(t, plane)
	steps, problems := Diff(have, state)
	if err := Apply(have, steps, plane); err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	plane.Steps()
	return plane
}

func held(t *testing.T, plane *fake.Tables) *Tables {
	t.Helper()
	tables, err := plane.Tables()
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func TestEveryStepIsAboutOneOfTheMaps(t *testing.T) {
	wide := VIP{Wide: Wide{HostBits: 8}}
	for step, want := range map[Step]string{
		PutEgress{}: "egress", DeleteEgress{}: "egress", PutBackend{}: "backends", DeleteBackend{}: "backends",
		PutService{}: "services", DeleteService{}: "services", PutAddress{}: "vip_addresses", DeleteAddress{}: "vip_addresses",
		PutVIP{}: "vips", DeleteVIP{}: "vips", PutVIP{VIP: wide}: "wide_vips", DeleteVIP{VIP: wide}: "wide_vips",
		PutPrefix{}: "wide_prefixes", DeletePrefix{}: "wide_prefixes", PutQUICID{}: "quic_ids", DeleteQUICID{}: "quic_ids",
		SeeWide{}: "switches", SeeNAT{}: "switches",
	} {
		if got := MapOf(step); got != want || !slices.Contains(Maps, got) {
			t.Errorf("%T is about %q, not %q", step, got, want)
		}
	}
	for _, step := range []Step{PutNAT{}, PutSlots{}, PutConditions{}} { // no keys of Go maps
		if got := MapOf(step); !slices.Contains(Maps, got) {
			t.Errorf("%T is about %q", step, got)
		}
	}
}
