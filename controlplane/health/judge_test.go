package health

import (
	"math/rand/v2"
	"testing"
)

func TestJudgeDecidesAtOnceAndThenByRiseAndFall(t *testing.T) {
	const rise, fall = 2, 3
	for _, row := range []struct{ promise, results, states string }{
		{"nothing is known before the first result", "", "?"},
		{"one success makes an unknown backend well", "+", "?w"},
		{"one failure makes an unknown backend ill", "-", "?i"},
		{"a well backend stays well for two failures", "+--", "?www"},
		{"the third failure in a row makes it ill", "+---", "?wwwi"},
		{"a success between failures starts the count anew", "+--+--", "?wwwwww"},
		{"an ill backend stays ill for one success", "-+", "?ii"},
		{"the second success in a row makes it well", "-++", "?iiw"},
		{"a failure between successes starts the count anew", "-+-+-", "?iiiii"},
		{"a backend that recovered needs three failures again", "-++---", "?iiwwwi"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			var j judge
			got := letter(j.state)
			for _, r := range row.results {
				j.hear(r == '+', rise, fall)
				got += letter(j.state)
			}
			if got != row.states {
				t.Errorf("results %q gave %q, want %q", row.results, got, row.states)
			}
		})
	}
}

func TestNoSequenceOfResultsFlipsTheJudgeEarly(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		rise, fall := 1+random.IntN(5), 1+random.IntN(5)
		var j judge
		agreeing := 0 // contradicting results in a row before this one
		for n := range 200 {
			well := random.IntN(2) == 0
			was := j.state
			changed := j.hear(well, rise, fall)
			if changed != (was != j.state) {
				t.Fatalf("hear said changed=%v from %s to %s", changed, was, j.state)
			}
			if well != (was == Well) || was == Unknown {
				agreeing++
			} else {
				agreeing = 0
			}
			needed := fall
			if well {
				needed = rise
			}
			if n == 0 {
				needed = 1
			}
			if must := agreeing >= needed; changed != must {
				t.Fatalf("rise %d, fall %d: after %d contradicting results in a row changed=%v", rise, fall, agreeing, changed)
			}
			if changed {
				agreeing = 0
			}
		}
	}
}

func letter(s State) string { return map[State]string{Unknown: "?", Well: "w", Ill: "i"}[s] }
