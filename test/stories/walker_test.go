package stories

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/script"
)

// walker does what a document tells its reader to do, on hosts that have places of
// their own, and compares what it sees with what the document shows.
type walker struct {
	t           *testing.T
	lab         *lab.Lab
	homes       map[string]*home
	environment []string      // of all that runs
	patience    time.Duration // until what is to come must have come
	// aside does what is not for the host's shell, and says whether it has.
	aside func(step script.Step) (said string, did bool)
}

func newWalker(t *testing.T, l *lab.Lab) *walker {
	t.Helper()
	needsSetpriv(t)
	w := &walker{t: t, lab: l, homes: map[string]*home{}, patience: patience,
		environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8"}}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for name := range w.homes {
			if text, err := os.ReadFile(w.log(name)); err == nil {
				t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-4000):])
			}
		}
	})
	return w
}

func (w *walker) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// follows does a document's steps in their order. A document with fewer than so many is
// not understood.
func (w *walker) follows(document string, least int) {
	w.t.Helper()
	text, err := os.ReadFile("../../" + document)
	w.must(err)
	steps := script.Steps(string(text))
	if len(steps) < least {
		w.t.Fatalf("%s has only %d steps", document, len(steps))
	}
	for _, step := range steps {
		w.does(document, step)
	}
}

// reading are the commands that change nothing, so that they can be typed again until
// they show what was to come. Others are typed once, and so are those that count losses.
var reading = regexp.MustCompile(`^(pointsman (status|services|backends|doctor|explain|plan|top|events|overrides|version|check)\b|consul members|systemctl show\b|for |curl |ip |ls )`)

// does does a step, until what it shows is as it should be.
func (w *walker) does(document string, step script.Step) {
	w.t.Helper()
	where := fmt.Sprintf("%s:%d: on %s", document, step.Line, step.Host)
	h := w.homes[step.Host]
	switch {
	case step.Host != "" && h == nil:
		w.t.Fatalf("%s: there is no such host", where)
	case step.File != "":
		w.runs(h, `printf %s "$1" > "$2"`, step.Content, step.File)
		return
	case strings.HasSuffix(step.Command, " &"):
		w.begins(where, h, step)
		return
	}
	again := reading.MatchString(step.Command) && !strings.Contains(step.Command, "echo lost")
	err := w.eventually(func() error {
		said := w.types(h, step)
		if script.Shows(step.Want, said) {
			w.t.Logf("%s# %s\n%s", step.Host, step.Command, said)
			return nil
		}
		err := fmt.Errorf("%s, %q shows\n%s", where, step.Command, said)
		if !again {
			w.t.Fatal(err)
		}
		return err
	})
	w.must(err)
}

// types types a line, and returns all that it prints.
func (w *walker) types(h *home, step script.Step) string {
	w.t.Helper()
	if said, did := w.aside(step); did {
		return said
	}
	if h == nil {
		w.t.Fatalf("%q cannot be done here", step.Command)
	}
	if step.Command == "wait" {
		select {
		case <-h.behind.Done():
		case <-time.After(w.patience):
			w.t.Fatalf("%s waits in vain; so far: %s", h.Name, w.readOn(h))
		}
		return w.readOn(h)
	}
	said, _ := w.finish(h, w.at(h, "sh", "-c", step.Command)) // what it prints tells
	return said
}

// begins types a line that ends with &. What it prints is read on by wait.
func (w *walker) begins(where string, h *home, step script.Step) {
	w.t.Helper()
	var err error
	h.said, err = os.CreateTemp(w.lab.Dir, "behind-")
	w.must(err)
	h.read = 0
	cmd := w.at(h, "sh", "-c", strings.TrimSuffix(step.Command, "&"))
	cmd.Stdout, cmd.Stderr = h.said, h.said
	h.behind, err = h.Start(cmd)
	w.must(err)
	w.must(w.eventually(func() error {
		text, err := os.ReadFile(h.said.Name())
		if err == nil && !script.Shows(step.Want, string(text)) {
			err = fmt.Errorf("%s, %q shows %q", where, step.Command, text)
		}
		return err
	}))
	w.readOn(h)
}

// readOn is what is new of what runs behind.
func (w *walker) readOn(h *home) string {
	w.t.Helper()
	text, err := os.ReadFile(h.said.Name())
	w.must(err)
	fresh := string(text[h.read:])
	h.read = len(text)
	return fresh
}

// eventually waits until there is no problem any more.
func (w *walker) eventually(problem func() error) error {
	deadline := time.After(w.patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		err := problem()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}
