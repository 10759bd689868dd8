package main

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

func TestJudgeComparesAnswersWithWeights(t *testing.T) {
	for _, row := range []struct {
		promise string
		counts  map[string]int
		lost    int
		alive   []backend
		want    string // part of the error, "" for none
	}{
		{"shares by weight are right", map[string]int{"backend-1": 805, "backend-2": 590, "backend-3": 410, "backend-4": 195}, 0, backends, ""},
		{"equal shares are wrong", map[string]int{"backend-1": 500, "backend-2": 500, "backend-3": 500, "backend-4": 500}, 0, backends, "backend-1 answered 500 of 2000"},
		{"one answer of a dead backend is wrong", map[string]int{"backend-1": 1142, "backend-2": 1, "backend-3": 572, "backend-4": 285}, 0, survivors(), "backend-2 answered 1 of 2000"},
		{"one lost request is wrong", map[string]int{"backend-1": 800, "backend-2": 600, "backend-3": 400, "backend-4": 199}, 1, backends, "1 of 2000 requests"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			var got traffic.Answers
			for name, n := range row.counts {
				for range n {
					got = append(got, traffic.Answer{Backend: name})
				}
			}
			for range row.lost {
				got = append(got, traffic.Answer{Err: errors.New("lost")})
			}
			err := judge(netip.MustParseAddrPort("192.0.2.10:80"), got, row.alive)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestPrivilegedADemoThatCannotRunFailsAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("building network namespaces needs root")
	}
	s := &stage{}
	err := errors.Join(s.build(t.Context(), options{binary: "/bin/false"}), s.close())
	if err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("the demo of a program that does nothing: %v", err)
	}
	if remains := lab.Remains(s.Lab.Prefix); len(remains) > 0 {
		t.Errorf("left behind: %v", remains)
	}
}
