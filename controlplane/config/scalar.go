package config

import (
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
)

// Readers of single values: each takes what the file says and gives it the
// form and the unit that the program uses, or says what is wrong.

// text is any text without control characters.
func text(value cty.Value) (string, *wrong) {
	v, mistake := as(value, cty.String, "a text")
	if mistake != nil {
		return "", mistake
	}
	s := v.AsString()
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return "", &wrong{"the text holds a control character", "a file that ends in a newline may be the reason"}
		}
	}
	return s, nil
}

// name is a text that may not be empty.
func name(value cty.Value) (string, *wrong) {
	s, mistake := text(value)
	if mistake == nil && s == "" {
		mistake = &wrong{"the text is empty", "leave the key out to get its default"}
	}
	return s, mistake
}

// path is an absolute path: a daemon's working directory is nobody's choice.
func path(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake == nil && !filepath.IsAbs(s) {
		mistake = &wrong{fmt.Sprintf("%q is not an absolute path", s), "begin it with /"}
	}
	return s, mistake
}

// flag is true or false.
func flag(value cty.Value) (bool, *wrong) {
	v, mistake := as(value, cty.Bool, "true or false")
	if mistake != nil {
		return false, mistake
	}
	return v.True(), nil
}

// oneOf is one of a few texts.
func oneOf(known ...string) func(cty.Value) (string, *wrong) {
	return func(value cty.Value) (string, *wrong) {
		s, mistake := text(value)
		if mistake == nil && !slices.Contains(known, s) {
			mistake = &wrong{fmt.Sprintf("%q is not supported", s), choose(s, known)}
		}
		return s, mistake
	}
}

// whole is a whole number from least to most.
func whole[T int | uint8 | uint16 | uint32](least, most int64) func(cty.Value) (T, *wrong) {
	return func(value cty.Value) (T, *wrong) {
		v, mistake := as(value, cty.Number, "a number")
		if mistake != nil {
			return 0, mistake
		}
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != big.Exact || n < least || n > most {
			return 0, &wrong{fmt.Sprintf("this is not a whole number from %d to %d", least, most), ""}
		}
		return T(n), nil
	}
}

// share is a part of a whole up to most, 0.25 or "25%".
func share(most float64) func(cty.Value) (float64, *wrong) {
	return func(value cty.Value) (float64, *wrong) {
		bounds := fmt.Sprintf(`write a fraction from 0 to %g, or a percentage such as "%g%%"`, most, most*50)
		s, mistake := text(value)
		if mistake != nil {
			return 0, mistake
		}
		digits, percent := strings.CutSuffix(s, "%")
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if percent {
			f /= 100
		}
		if err != nil || !(f >= 0 && f <= most) {
			return 0, &wrong{fmt.Sprintf("%q is out of bounds", s), bounds}
		}
		return f, nil
	}
}

// span is a duration from least to most.
func span(least, most time.Duration) func(cty.Value) (time.Duration, *wrong) {
	return func(value cty.Value) (time.Duration, *wrong) {
		s, mistake := text(value)
		if mistake != nil {
			return 0, mistake
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, &wrong{fmt.Sprintf("%q is not a duration", s), `write it with its unit: "500ms", "2s", "1m"`}
		}
		if d < least || d > most {
			return 0, &wrong{fmt.Sprintf("%q is out of bounds", s), fmt.Sprintf("from %s to %s", least, most)}
		}
		return d, nil
	}
}

// MaxIdleTimeout is the longest that a flow can be remembered without a packet:
// the flow table keeps seconds on a circle of 2^14, of which half is the future.
const MaxIdleTimeout = 8191 * time.Second

const mostDrainTimeout = 7 * 24 * time.Hour

// status is one HTTP status code, 200, or a range of them, "200-299".
func status(value cty.Value) (StatusRange, *wrong) {
	s, mistake := text(value)
	if mistake != nil {
		return StatusRange{}, mistake
	}
	low, high, ranged := strings.Cut(s, "-")
	if !ranged {
		high = low
	}
	first, err1 := strconv.Atoi(strings.TrimSpace(low))
	last, err2 := strconv.Atoi(strings.TrimSpace(high))
	if err1 != nil || err2 != nil || first < 100 || last > 599 || first > last {
		return StatusRange{}, &wrong{fmt.Sprintf("%q is not an HTTP status", s), `write 204, or a range such as "200-299", within 100 to 599`}
	}
	return StatusRange{First: first, Last: last}, nil
}

// Slots are prime so that every backend's walk through a Maglev table visits
// each of them (Eisenbud et al., NSDI 2016, section 3.4).
const leastSlots, mostSlots = 251, 1_000_003

// slots is a prime number of slots.
func slots(value cty.Value) (uint32, *wrong) {
	n, mistake := whole[uint32](leastSlots, mostSlots)(value)
	if mistake != nil || prime(n) {
		return n, mistake
	}
	next := n
	for !prime(next) {
		next++
	}
	return 0, &wrong{fmt.Sprintf("%d is not a prime number", n), fmt.Sprintf("the next prime is %d", next)}
}

func prime(n uint32) bool {
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// secretText is long enough to stand for 64 random bits.
func secretText(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake == nil && len(s) < 8 {
		mistake = &wrong{"the secret has fewer than 8 bytes", "draw one: openssl rand -hex 16"}
	}
	return s, mistake
}

// interfaceName follows the kernel's dev_valid_name: 1 to 15 bytes, no slash,
// colon or space.
func interfaceName(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake == nil && (len(s) > 15 || strings.ContainsAny(s, "/: ") || s == "." || s == "..") {
		mistake = &wrong{fmt.Sprintf("%q cannot be the name of an interface", s), "see ip link"}
	}
	return s, mistake
}

// taggedAddress refuses Consul's virtual addresses: they lead to a proxy or to
// a VIP, never to a backend.
func taggedAddress(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake == nil && (s == "virtual" || strings.HasPrefix(s, "consul-virtual")) {
		mistake = &wrong{fmt.Sprintf("%q is never a backend's address", s), `use one such as "lan_ipv4"`}
	}
	return s, mistake
}

// urlPath is what a request asks for.
func urlPath(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake == nil && !strings.HasPrefix(s, "/") {
		mistake = &wrong{fmt.Sprintf("%q is not a path", s), "begin it with /"}
	}
	return s, mistake
}

var serviceNames = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
