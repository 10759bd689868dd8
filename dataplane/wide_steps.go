package dataplane

import "fmt"

func (s PutPrefix) String() string { return fmt.Sprintf("look for wide VIPs of %s", s.Prefix) }
func (s DeletePrefix) String() string {
	return fmt.Sprintf("look no more for wide VIPs of %s", s.Prefix)
}

func (s SeeWide) String() string {
	if s.On {
		return "look for wide VIPs"
	}
	return "look for exact VIPs only"
}

func (s PutQUICID) String() string    { return fmt.Sprintf("give %s to backend %d", s.Key, s.Backend) }
func (s DeleteQUICID) String() string { return fmt.Sprintf("forget %s", s.Key) }

// Replay of each step makes its change to tables in memory.
func (s PutPrefix) Replay(t *Tables)    { t.Prefixes[s.Prefix] = true }
func (s DeletePrefix) Replay(t *Tables) { delete(t.Prefixes, s.Prefix) }
func (s SeeWide) Replay(t *Tables)      { t.SeesWide = s.On }
func (s PutQUICID) Replay(t *Tables)    { t.QUICIDs[s.Key] = s.Backend }
func (s DeleteQUICID) Replay(t *Tables) { delete(t.QUICIDs, s.Key) }
