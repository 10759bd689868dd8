package main

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// archive writes files in the format of initial file systems: "newc" cpio, as
// the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it.
// Forty lines of our own, because the libraries for it read and copy whole trees
// of files, and are larger than all of this program.
type archive struct {
	to      io.Writer
	inode   int
	folders map[string]bool
	err     error // the first one; nothing is written after it
}

// File types of mode_t.
const (
	typeFolder = 0o040000
	typeFile   = 0o100000
	typeLink   = 0o120000
)

// add writes a file at an absolute path, after the folders above it.
func (a *archive) add(name string, mode uint32, content []byte) {
	a.folder(path.Dir(name))
	a.entry(name, typeFile|mode, content)
}

// link writes a symbolic link; what is in a folder must not be added through one.
func (a *archive) link(name, to string) {
	a.folder(path.Dir(name))
	a.entry(name, typeLink|0o777, []byte(to))
}

// folder writes a folder, unless it is there.
func (a *archive) folder(name string) {
	if name == "/" || a.folders[name] {
		return
	}
	a.folder(path.Dir(name))
	if a.folders == nil {
		a.folders = map[string]bool{}
	}
	a.folders[name] = true
	mode := uint32(0o755)
	if name == "/tmp" {
		mode = 0o1777
	}
	a.entry(name, typeFolder|mode, nil)
}

// close writes what marks the end.
func (a *archive) close() error {
	a.inode = -1
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

// entry writes the magic number, thirteen fields of eight hexadecimal digits, the
// name and the content, the latter two up to a multiple of four bytes.
func (a *archive) entry(name string, mode uint32, content []byte) {
	a.inode++
	name = strings.TrimPrefix(name, "/") + "\x00"
	header := "070701"
	for _, field := range []int{a.inode, int(mode), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0} {
		header += fmt.Sprintf("%08X", field)
	}
	a.write(header + name + padding(len(header)+len(name)))
	a.write(string(content) + padding(len(content)))
}

func (a *archive) write(text string) {
	if a.err == nil {
		_, a.err = io.WriteString(a.to, text)
	}
}

func padding(size int) string { return "\x00\x00\x00"[:-size&3] }
