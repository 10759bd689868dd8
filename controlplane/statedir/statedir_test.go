package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsWrittenIsReadAndNobodyElseMay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "file.json")
	for _, text := range []string{"first", "second and longer"} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	for path, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s is %v, %v", path, info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the file there are %v, %v", entries, err)
	}
}

func TestAFileThatIsSetAsideIsThereForPeople(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.json")
	for _, text := range []string{"damaged", "damaged again"} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		aside, err := SetAside(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(aside); err != nil || string(got) != text {
			t.Errorf("%s has %q, %v", aside, got, err)
		}
		if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
	}
}

func TestAnErrorSaysWhatToDo(t *testing.T) {
	for errno, want := range map[error]string{
		unix.ENOSPC:  "writing /var/lib/pointsman/f: no space left on device; make room there: df -h /var/lib/pointsman shows how full it is, df -i whether inodes have run out",
		unix.EDQUOT:  "writing /var/lib/pointsman/f: disk quota exceeded; make room there: df -h /var/lib/pointsman",
		unix.EROFS:   "mount the file system of /var/lib/pointsman writable",
		unix.EACCES:  "must belong to the user that the daemon runs as, with mode 0700: ls -ld /var/lib/pointsman",
		unix.ENOTDIR: "must be a directory",
		unix.EIO:     "the disk under /var/lib/pointsman may be failing",
		unix.EMFILE:  "writing /var/lib/pointsman/f: too many open files",
	} {
		err := explain("writing", "/var/lib/pointsman/f", &fs.PathError{Op: "open", Path: "/var/lib/pointsman/f.1234", Err: errno})
		if !strings.Contains(err.Error(), want) || !errors.Is(err, errno) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%v is explained as %q, want %q", errno, err, want)
		}
	}
}

func TestAFileWhereTheFolderShouldBeIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "f"), nil); err == nil || !strings.Contains(err.Error(), dir+" must be a directory") {
		t.Errorf("got %v", err)
	}
}
