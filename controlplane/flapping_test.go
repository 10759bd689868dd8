package controlplane

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

func TestAViewThatIsHeldForAnotherReasonIsToldOfThoughItFlaps(t *testing.T) {
	f, at := flapping{}, time.Unix(0, 0)
	hold := func(why string) telling {
		at = at.Add(time.Second)
		return f.judge(api.Event{Kind: kindConsul, Service: "web", State: "held", Why: why, At: at})
	}
	for range mostTellings {
		if hold("unreachable") != told {
			t.Fatal("it is said to flap too soon")
		}
	}
	if hold("unreachable") != tooOften || hold("unreachable") != untold {
		t.Error("it is not said to flap")
	}
	if hold("403") != told {
		t.Error("another reason is not told")
	}
	for _, e := range f.due(at.Add(flapWindow)) {
		if e.Why != "unreachable" || e.Changes != 1 {
			t.Errorf("told at last is %+v", e)
		}
	}
}
