package dataplane

// Stray is an entry of a table that is not as it was left.
type Stray[Key, Value comparable] struct {
	Key  Key
	Was  Trespass
	Left Value // zero where it was added
}

// Trespass is what somebody else did to an entry.
type Trespass string

// What can be done to an entry.
const (
	Deleted Trespass = "deleted"
	Changed Trespass = "changed"
	Added   Trespass = "added"
)

// Strays compares the entries that a table holds with those that it was left with.
// Those that were added come first: a table may be full of them.
func Strays[Key, Value comparable](held, left map[Key]Value) []Stray[Key, Value] {
	var added, others []Stray[Key, Value]
	for key, value := range held {
		wanted, known := left[key]
		switch {
		case !known:
			added = append(added, Stray[Key, Value]{Key: key, Was: Added})
		case value != wanted:
			others = append(others, Stray[Key, Value]{key, Changed, wanted})
		}
	}
	for key, wanted := range left {
		if _, held := held[key]; !held {
			others = append(others, Stray[Key, Value]{key, Deleted, wanted})
		}
	}
	return append(added, others...)
}
