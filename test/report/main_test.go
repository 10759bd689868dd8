package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What go test writes of a package with a test that passes, one that fails, and one
// that is out of time within a part of it, cut to what differs.
const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"well\n"}
{"Action":"pass","Package":"p","Test":"TestGood","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"why it is bad\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestHangs"}
{"Action":"run","Package":"p","Test":"TestHangs/inside"}
{"Action":"output","Package":"p","Test":"TestHangs/inside","Output":"panic: test timed out after 2s\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t2.003s\n"}
{"Action":"fail","Package":"p","Elapsed":2.003}
{"Action":"run","Package":"q","Test":"TestGood"}
{"Action":"pass","Package":"q","Test":"TestGood","Elapsed":0}
{"Action":"pass","Package":"q","Elapsed":0.1}
`

const shown = `FAIL p TestBad
why it is bad
HUNG p TestHangs
HUNG p TestHangs/inside
panic: test timed out after 2s
FAIL p 2.0s
FAIL	p	2.003s
ok   q 0.1s
did not end: p TestHangs
did not end: p TestHangs/inside
2 passed, 3 failed
`

func TestWhatFailsAndWhatDoesNotEndIsShown(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r.sumUp()
	if out.String() != shown {
		t.Errorf("the report is\n%s, want\n%s", out.String(), shown)
	}
}

func TestReportsAddToATally(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tally")
	for _, r := range []report{{passed: 30, failed: 1}, {passed: 4}} {
		if err := r.tally(path); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "30 1\n4 0\n" {
		t.Errorf("the tally is %q, %v", text, err)
	}
}
