package config

import (
	"regexp"
	"strings"
	"unicode"
)

// secretKey finds what a secret is given to in a line of either syntax, also under a
// mistyped key: a mistake beside a token must not carry the token into a log.
var secretKey = regexp.MustCompile(`\b(?:tok[a-z]{0,4}|[a-z_]*secret[a-z_]*)"?\s*[=:]`)

// legible makes a line fit for a terminal: no control characters, no secrets,
// one rune out for each rune in.
func legible(line []byte) string {
	text := strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "?")
	var masked strings.Builder
	rest := 0
	for _, at := range secretKey.FindAllStringIndex(text, -1) {
		for _, literal := range literals(text, max(at[1], rest)) {
			masked.WriteString(text[rest:literal[0]])
			masked.WriteString(strings.Repeat("*", len([]rune(text[literal[0]:literal[1]]))))
			rest = literal[1]
		}
	}
	masked.WriteString(text[rest:])
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, masked.String())
}

// literals are the texts between quotes in the value that begins there, whatever else
// is wrong with it, but for names of environment variables. It ends with a comma or a
// bracket that is not its own.
func literals(text string, from int) (all [][2]int) {
	depth := 0
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			end := closing(text, i+1)
			if before := strings.TrimRight(text[from:i], " \t"); !strings.HasSuffix(before, "env(") && !strings.HasPrefix(text[i+1:end], "${env(") {
				all = append(all, [2]int{i + 1, end})
			}
			i = end
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		}
		if depth < 0 || depth == 0 && i < len(text) && text[i] == ',' {
			break
		}
	}
	return all
}

// closing is where the quote that ends a text is, or the line.
func closing(text string, from int) int {
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}
