package dataplane_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func TestToLeaveServicesAsTheyAreGivesTheStepsOfLookingAtAllOfThem(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	full := crowd(20, 10, 251)
	state := State{Services: slices.Clone(full.Services)}
	have := settled(t, state)
	some := 0
	for round := range 300 {
		which := random.IntN(len(state.Services))
		var backends []Backend
		for _, b := range full.Services[which].Backends {
			if random.IntN(3) > 0 {
				backends = append(backends, b)
			}
		}
		state.Services[which].Backends = backends
		narrow := State{Services: slices.Clone(state.Services)}
		for i := range narrow.Services {
			narrow.Services[i].Keep = i != which
		}
		whole, problems := Diff(have, state)
		few, fewProblems := Diff(have, narrow)
		if !reflect.DeepEqual(whole, few) || !reflect.DeepEqual(problems, fewProblems) {
			t.Fatalf("round %d: looking at all gives\n%v\n%v\nand at one\n%v\n%v", round, whole, problems, few, fewProblems)
		}
		some += len(few)
		bring(t, have, narrow)
	}
	if some == 0 {
		t.Fatal("nothing ever changed")
	}
}
