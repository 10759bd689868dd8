package dataplane

import "fmt"

// Apply carries out steps one after the other, each first through the Writer
// and then on have, and stops at the first that fails. Then have holds what was
// done, and Diff of have and what is wanted continues from there.
func Apply(have *Tables, steps []Step, w Writer) error {
	for _, step := range steps {
		if err := w.Write(step); err != nil {
			return fmt.Errorf("trying to %s: %w", step, err)
		}
		step.Replay(have)
	}
	return nil
}
