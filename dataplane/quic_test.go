package dataplane_test

import (
	"bytes"
	"strings"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func TestTheBytesThatNameABackendAreFoundInAConnectionID(t *testing.T) {
	long := func(length byte, id string) string { return "\xc3\x00\x00\x00\x01" + string(length) + id }
	for _, row := range []struct {
		promise string
		quic    QUIC
		payload string
		want    string // "" is none
	}{
		{"a short header's begins behind its first byte", QUIC{1, 2}, "\x40\x00ab\x00\x00", "ab"},
		{"a long header's behind its length", QUIC{1, 2}, long(4, "_ab_rest"), "ab"},
		{"whole, if that is what is asked for", QUIC{0, 8}, "\x5fabcdefgh", "abcdefgh"},
		{"nothing follows from a length of 0", QUIC{1, 0}, "\x40\x00ab", ""},
		{"nor from a payload without bytes", QUIC{1, 2}, "", ""},
		{"nor from one that is too short", QUIC{1, 2}, "\x40_a", ""},
		{"nor from a connection ID that is too short", QUIC{1, 2}, long(2, "_abcdefgh"), ""},
		{"nor from bytes that are cut short", QUIC{1, 2}, long(8, "_a"), ""},
		{"but the rest may be", QUIC{1, 2}, long(8, "_ab"), "ab"},
		{"nor from a long header that is cut short", QUIC{0, 1}, "\xc3\x00\x00\x00\x01", ""},
		{"nor from a connection ID of no bytes", QUIC{0, 1}, long(0, "abc"), ""},
	} {
		id, found := row.quic.Find([]byte(row.payload))
		if string(id) != row.want || found != (row.want != "") {
			t.Errorf("%s: got %q (%t), want %q", row.promise, id, found, row.want)
		}
	}
}

func FuzzQUICFind(f *testing.F) {
	f.Add([]byte("\xc3\x00\x00\x00\x01\x04_ab_rest"), byte(1), byte(2))
	f.Fuzz(func(t *testing.T, payload []byte, offset, length byte) {
		id, found := QUIC{offset % 20, length % 9}.Find(payload)
		if found && (len(id) != int(length%9) || !bytes.Contains(payload, id)) {
			t.Errorf("found %q", id)
		}
	})
}

func TestAQUICIDThatCannotBeHeldIsAProblem(t *testing.T) {
	quic := func(change func(*Service)) Service {
		return with(service("web", 0, 0, 1), func(s *Service) {
			s.QUIC = QUIC{1, 2}
			s.Backends[0].QUICID, s.Backends[1].QUICID = "aa", "bb"
			change(s)
		})
	}
	for text, s := range map[string]Service{
		"":                            quic(func(*Service) {}),
		"has a QUIC ID of 3 bytes":    quic(func(s *Service) { s.Backends[0].QUICID = "aaa" }),
		"has the QUIC ID 6262":        quic(func(s *Service) { s.Backends[0].QUICID = "bb" }),
		"2 bytes from 19 on":          quic(func(s *Service) { s.QUIC.Offset = 19 }),
		"9 bytes from 1 on, may have": quic(func(s *Service) { s.QUIC.Length = 9 }),
	} {
		_, problems := Diff(NewTables(roomy, 100), State{Services: []Service{s}})
		if (len(problems) > 0) != (text != "") || text != "" && !contains(problems[0].Text, text) {
			t.Errorf("got the problems %q, not %q", problems, text)
		}
	}
}
