package api

import (
	"fmt"
	"math"
	"time"
)

// Age tells a duration as people say it, in its two largest units at most.
func Age(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// Short tells a number in three digits or so, with the letter of its thousands.
func Short(n float64) string {
	switch {
	case n < 0.05:
		return "0"
	case n < 9.95:
		return fmt.Sprintf("%.1f", n)
	}
	for i, letter := range []string{"", "k", "M", "G", "T"} {
		scaled := n / math.Pow(1000, float64(i))
		switch {
		case i > 0 && scaled < 9.95:
			return fmt.Sprintf("%.1f%s", scaled, letter)
		case scaled < 999.5:
			return fmt.Sprintf("%.0f%s", scaled, letter)
		}
	}
	return fmt.Sprintf("%.0fP", n/1e15)
}
