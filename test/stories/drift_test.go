package stories

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

func TestPrivilegedPinsThatSomeoneRemovesComeBackAndNobodyNotices(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(unprobed)
	asking := s.keepAsking(webVIPs...)
	pins := []string{"links/eth0", "maps/vips", "maps/flows", "program"}
	for _, pin := range pins {
		s.must(os.Remove(filepath.Join(s.PinDir(), pin)))
	}
	s.await("the pins are back", func() error {
		var missing error
		for _, pin := range pins {
			_, err := os.Stat(filepath.Join(s.PinDir(), pin))
			missing = errors.Join(missing, err)
		}
		return missing
	})
	s.await("the repairs are told", func() error {
		if now := s.status(); now.DriftRepairs < len(pins) || now.LastRepair == nil {
			return errors.New("too few repairs in the status")
		}
		return nil
	})
	s.nothingLost(asking.finish())
}
