package controlplane

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/statedir"
)

// hashSecret is what keys the flow hash: the file's, which a fleet shares, else
// one that this host drew once and keeps, so that a restart moves no flow. Kept
// is the same secret as another file has it: with another one every flow would
// move, so it is worth having twice. What is drawn is "" if the file gives it.
func hashSecret(file *config.File, kept string, log *slog.Logger) (secret uint64, drawn string, err error) {
	if file.HashSecret != nil {
		sum := sha256.Sum256([]byte(*file.HashSecret))
		return binary.BigEndian.Uint64(sum[:]), "", nil
	}
	path := filepath.Join(file.StateDir, "hash-secret")
	text, err := statedir.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, "", err
	}
	if secret, ok := parseSecret(string(text)); ok {
		return secret, strings.TrimSpace(string(text)), nil
	}
	if err == nil {
		line := []any{"file", path, "reason", "it does not hold 16 hexadecimal digits"}
		if aside, failed := statedir.SetAside(path); failed == nil {
			line = append(line, "set_aside_as", aside)
		}
		log.Warn("the hash secret is damaged", line...)
	}
	secret, known := parseSecret(kept)
	if !known {
		secret = drawSecret()
		kept = hex.EncodeToString(binary.BigEndian.AppendUint64(nil, secret))
		log.Info("a hash secret was drawn", "file", path)
	}
	// A full disk is no reason not to balance: the other file is tried again.
	if err := statedir.Write(path, []byte(kept+"\n")); err != nil {
		log.Warn("the hash secret cannot be kept: unless that is mended, a restart breaks connections", "reason", err)
	}
	return secret, kept, nil
}

// parseSecret reads 16 hexadecimal digits.
func parseSecret(text string) (uint64, bool) {
	secret, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(secret) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(secret), true
}

func drawSecret() uint64 {
	var secret [8]byte
	rand.Read(secret[:]) // never fails, by its documentation
	return binary.BigEndian.Uint64(secret[:])
}
