package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// maxSyntaxErrors are shown of a file: one that is not ours at all has one in
// every byte.
const maxSyntaxErrors = 20

// Load reads a file (JSON if its name ends in .json, else HCL), or every *.hcl
// and *.json of a directory as if they were one file. The error is Errors and
// holds all mistakes.
func Load(path string) (*File, error) {
	f, mistakes := Examine(path)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return f, nil
}

// Examine is Load for who looks for mistakes of other kinds, too, to report all
// at once: beside the mistakes it returns what could be read in spite of them,
// which must not run, or nil where nothing could.
func Examine(path string) (*File, Errors) {
	names, err := files(path)
	if err != nil {
		return nil, Errors{{Position: Position{File: path}, Summary: err.Error(), Detail: unread(err)}}
	}
	d := newDecoder()
	var bodies []hcl.Body
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			d.report(Position{File: name}, fmt.Sprintf("the file cannot be read: %v", unwrapPath(err)), unread(err))
			d.unparsed = true
			continue
		}
		bodies = append(bodies, d.parse(name, src))
	}
	return d.file(path, bodies), d.errs.tidy()
}

// Parse reads one file from memory. The name decides as for Load whether it is
// JSON. The error is Errors.
func Parse(name string, src []byte) (*File, error) {
	d := newDecoder()
	f := d.file(name, []hcl.Body{d.parse(name, src)})
	if len(d.errs) > 0 {
		return nil, d.errs.tidy()
	}
	return f, nil
}

// files are those that a path stands for, sorted by name.
func files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", unwrapPath(err))
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("the directory cannot be read: %w", unwrapPath(err))
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		ours := strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json")
		if ours && !entry.IsDir() && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(path, name))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the directory holds no *.hcl and no *.json file")
	}
	return names, nil
}

// unread is what to do about a file that cannot be read.
func unread(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "the user that runs this must be allowed to: ls -l shows who is"
	case errors.Is(err, fs.ErrNotExist):
		return "write it there, or name another one"
	}
	return ""
}

// unwrapPath drops the path from an error that will be shown beside it.
func unwrapPath(err error) error {
	if wrapped, ok := err.(*os.PathError); ok {
		return wrapped.Err
	}
	return err
}

// parse turns bytes into a body; mistakes of syntax are reported and mark the
// decoder, since what follows from them would only confuse.
func (d *decoder) parse(name string, src []byte) hcl.Body {
	d.sources.add(name, src)
	d.bytes[name] = src
	isJSON := strings.HasSuffix(name, ".json")
	if reason := unfit(name, src, isJSON); reason != "" {
		d.report(Position{File: name}, reason, "")
		d.unparsed = true
		return hcl.EmptyBody()
	}
	var file *hcl.File
	var diags hcl.Diagnostics
	if isJSON {
		file, diags = json.Parse(src, name)
	} else {
		file, diags = hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	}
	for _, diag := range diags {
		// A key that is set twice is the one mistake here after which the rest can be trusted.
		if diag.Severity == hcl.DiagError && diag.Summary != "Attribute redefined" {
			d.unparsed = true
		}
	}
	if d.unparsed && len(diags) > maxSyntaxErrors {
		diags = diags[:maxSyntaxErrors]
	}
	d.diagnose(diags, nil, "")
	if file == nil || file.Body == nil {
		return hcl.EmptyBody()
	}
	return file.Body
}
