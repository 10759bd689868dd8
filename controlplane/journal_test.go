package controlplane

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

func TestNothingIsDetectedBeforeItHappened(t *testing.T) {
	now := time.Now()
	// Two views came so close together that one decision took both, and the time
	// of the first counts.
	c := causes{arrived: now, d: &daemon{
		watchNames: map[string]string{"web": "web#1"},
		views:      map[string]consul.View{"web#1": {Answered: now.Add(5 * time.Millisecond)}},
	}}
	took, consulAt, seen := c.detect("web", desired.BackendReport{}, now.Add(-time.Second))
	if !seen || took != 0 || !consulAt.Equal(now.Add(5*time.Millisecond)) {
		t.Errorf("it took %s, %v", took, seen)
	}
}
