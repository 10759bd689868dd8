package controlplane

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/controlplane/config"
)

// hashSecret is what keys the flow hash: the file's, which a fleet shares, else
// one that this host drew once and keeps, so that a restart moves no flow.
func hashSecret(file *config.File) (uint64, error) {
	if file.HashSecret != nil {
		sum := sha256.Sum256([]byte(*file.HashSecret))
		return binary.BigEndian.Uint64(sum[:]), nil
	}
	path := filepath.Join(file.StateDir, "hash-secret")
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return drawSecret(path)
	case err != nil:
		return 0, fmt.Errorf("reading the hash secret: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != 8 {
		return 0, fmt.Errorf("reading the hash secret: %s does not hold 16 hexadecimal digits; remove it to have another drawn", path)
	}
	return binary.BigEndian.Uint64(secret), nil
}

func drawSecret(path string) (uint64, error) {
	var secret [8]byte
	rand.Read(secret[:]) // never fails, by its documentation
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, fmt.Errorf("making the state directory: %w", err)
	}
	if err := writeDurably(path, []byte(hex.EncodeToString(secret[:])+"\n")); err != nil {
		return 0, fmt.Errorf("keeping the hash secret: %w", err)
	}
	return binary.BigEndian.Uint64(secret[:]), nil
}

// writeDurably replaces a file so that a crash leaves the old one or the new
// one, and never a part.
func writeDurably(path string, text []byte) error {
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
