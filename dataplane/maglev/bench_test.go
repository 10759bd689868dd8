package maglev

import (
	"fmt"
	"testing"
)

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("%d members of equal weight", n), func(b *testing.B) {
			benchmarkBuild(b, numbered(n, func(int) int { return 1 }))
		})
		b.Run(fmt.Sprintf("%d members of 256 weights", n), func(b *testing.B) {
			benchmarkBuild(b, numbered(n, func(i int) int { return 1 + i%256 }))
		})
	}
}

func benchmarkBuild(b *testing.B, members []Member) {
	for b.Loop() {
		if Build(members, 65537) == nil {
			b.Fatal("no table")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/table")
}

func numbered(n int, weight func(int) int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Key: fmt.Sprintf("10.%d.%d.%d:80", i/65536, i/256%256, i%256), Weight: weight(i)}
	}
	return members
}
