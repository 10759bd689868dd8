package health

// judge turns results into a state: the first result decides alone, so that a
// start takes one probe; later a change needs `rise` or `fall` results in a
// row that contradict the state, so that one lost packet moves no flow.
type judge struct {
	state  State
	streak int // results in a row that contradict state
}

// hear takes one result and tells whether the state has changed.
func (j *judge) hear(well bool, rise, fall int) bool {
	said, needed := Ill, fall
	if well {
		said, needed = Well, rise
	}
	if said == j.state {
		j.streak = 0
		return false
	}
	j.streak++
	if j.state != Unknown && j.streak < needed {
		return false
	}
	j.state, j.streak = said, 0
	return true
}
