package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds on what is given to the parser, which recurses: Go cannot recover
// from a stack overflow, and no configuration comes near them.
const (
	maxFileBytes = 8 << 20
	maxDepth     = 100
	maxOperators = 1000
)

// unfit tells why a file may not be given to the parser, or "".
func unfit(name string, src []byte, isJSON bool) string {
	if len(src) > maxFileBytes {
		return fmt.Sprintf("the file has %d bytes; at most %d are read", len(src), maxFileBytes)
	}
	tooDeep := false
	switch {
	case isJSON:
		tooDeep = deepJSON(src)
	case !plainlyShallow(src):
		tooDeep = deepHCL(name, src)
	}
	if tooDeep {
		return "the file is nested too deeply, or has too many operators, to be a configuration"
	}
	return ""
}

// deepJSON counts brackets, and those in texts too: a text holds few, and
// mostly in pairs.
func deepJSON(src []byte) bool {
	depth := 0
	for _, c := range src {
		switch c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return true
			}
		case '}', ']':
			depth = max(depth-1, 0)
		}
	}
	return false
}

// deepHCL asks the real scanner, which does not recurse.
func deepHCL(name string, src []byte) bool {
	depth, operators := 0, 0
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // ParseConfig reports what is wrong
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
			hclsyntax.TokenOQuote, hclsyntax.TokenTemplateInterp, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen,
			hclsyntax.TokenCQuote, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCHeredoc:
			depth = max(depth-1, 0)
		case hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus,
			hclsyntax.TokenPercent, hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenAnd,
			hclsyntax.TokenOr, hclsyntax.TokenTemplateControl:
			operators++
		}
		if depth > maxDepth || operators > maxOperators {
			return true
		}
	}
	return false
}

// plainlyShallow spares an ordinary file the second scan, which would make
// reading 100,000 backends a third slower. It knows plain texts and comments
// to the end of the line; whatever else a text can be makes it say no.
func plainlyShallow(src []byte) bool {
	depth, operators := 0, 0
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			end := bytes.IndexByte(src[i+1:], '"')
			if end < 0 || bytes.ContainsAny(src[i+1:i+1+end], "\\{\n") {
				return false
			}
			i += 1 + end
		case c == '#', c == '/' && bytes.HasPrefix(src[i:], []byte("//")):
			end := bytes.IndexByte(src[i:], '\n')
			if end < 0 {
				return true
			}
			i += end
		case bytes.HasPrefix(src[i:], []byte("/*")), bytes.HasPrefix(src[i:], []byte("<<")):
			return false
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth = max(depth-1, 0)
		case strings.IndexByte("*/+-%!?&|", c) >= 0:
			operators++
		}
		if depth > maxDepth || operators > maxOperators {
			return false
		}
	}
	return true
}
