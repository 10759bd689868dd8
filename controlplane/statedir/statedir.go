// Package statedir keeps small files over restarts and crashes, and says in words
// what is wrong where it cannot. It knows nothing of what is in them.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write replaces a file so that a crash leaves the old one or the new one, and
// never a part. It makes the folder if there is none. Both are their owner's only.
func Write(path string, text []byte) error {
	if err := write(path, text); err != nil {
		return explain("writing", path, err)
	}
	return nil
}

func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Read returns a file's text. Where there is none the error is fs.ErrNotExist.
func Read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, explain("reading", path, err)
	}
	return text, nil
}

// SetAside moves a file that cannot be used out of the way, for people to look
// at, and returns its new name. One that was set aside before gives way to it.
func SetAside(path string) (string, error) {
	aside := path + ".set-aside"
	if err := os.Rename(path, aside); err != nil {
		return "", explain("setting aside", path, err)
	}
	return aside, nil
}

// explain says what was being done, to what, and what to do about it.
func explain(doing, path string, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err // its path is a temporary one, or the same
	}
	var linked *os.LinkError
	if errors.As(err, &linked) {
		err = linked.Err
	}
	if advice := advice(filepath.Dir(path), err); advice != "" {
		return fmt.Errorf("%s %s: %w; %s", doing, path, err, advice)
	}
	return fmt.Errorf("%s %s: %w", doing, path, err)
}

// advice is what to do about the errors that operators meet.
func advice(dir string, err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Sprintf("make room there: df -h %s shows how full it is, df -i whether inodes have run out", dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Sprintf("mount the file system of %s writable, or name another state_dir", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s must belong to the user that the daemon runs as, with mode 0700: ls -ld %s", dir, dir)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Sprintf("%s must be a directory: move away what is there, or name another state_dir", dir)
	case errors.Is(err, unix.EIO):
		return fmt.Sprintf("the disk under %s may be failing: dmesg tells", dir)
	}
	return ""
}
