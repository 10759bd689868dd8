package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestTheMapsThatStepsAreAboutAreCalledAsInTheProgram(t *testing.T) {
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range dataplane.Maps {
		if spec.Maps[name] == nil {
			t.Errorf("the program has no map %s", name)
		}
	}
}
