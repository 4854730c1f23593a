// SPDX-License-Identifier: Apache-2.0

package sweep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// PinsDir is the directory of pins, in that of the job.
const PinsDir = "pins/"

// Pin holds a checkpoint of a job although its head may not name it any more: another job is being started from it, for example. It is an object
// of its own, PinsDir + a name, which anybody may create and delete.
type Pin struct {
	// Path is the directory of the checkpoint within that of the job, such as "checkpoints/chk-7/".
	Path string `json:"path"`
	// Reason says what for, for people.
	Reason string `json:"reason,omitempty"`
}

// EncodePin returns the object.
func EncodePin(p Pin) ([]byte, error) {
	if _, err := cleanDir(p.Path); err != nil {
		return nil, fmt.Errorf("encoding a pin: %w", err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding a pin: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodePin reads the object.
func DecodePin(b []byte) (Pin, error) {
	var p Pin
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Pin{}, fmt.Errorf("reading a pin: %w", err)
	}
	var err error
	if p.Path, err = cleanDir(p.Path); err != nil {
		return Pin{}, fmt.Errorf("reading a pin: %w", err)
	}
	return p, nil
}

// cleanDir returns the directory of a checkpoint with a "/" at its end.
func cleanDir(p string) (string, error) {
	p = strings.TrimSuffix(strings.TrimSuffix(p, snapshot.ManifestName), "/")
	if path.Clean(p) != p || path.Dir(p) != "checkpoints" || path.Base(p) == ".." {
		return "", fmt.Errorf("%q is not the directory of a checkpoint within the job's: want checkpoints/<name>/", p)
	}
	return p + "/", nil
}

// store is what a sweep needs of one.
type store interface {
	storage.Reader
	storage.Lister
}

// readPins returns the pins of the job in dir.
func readPins(ctx context.Context, s store, dir string) ([]Pin, error) {
	var names []string
	err := s.List(ctx, dir+PinsDir, func(o storage.Object) error {
		names = append(names, o.Key)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pins of the job: %w", err)
	}
	var pins []Pin
	for _, name := range names {
		b, _, err := s.Get(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			continue // taken away since
		}
		if err != nil {
			return nil, fmt.Errorf("reading the pin %s: %w", name, err)
		}
		p, err := DecodePin(b)
		if err != nil {
			return nil, fmt.Errorf("%w: correct or delete %s", err, name)
		}
		pins = append(pins, p)
	}
	return pins, nil
}

// Unpinned drops from keys, objects of the job in dir, those that a pin holds. It reads nothing more than a listing when there are no pins. When
// a pin or what it names can't be read, it fails, so that nothing is deleted.
func Unpinned(ctx context.Context, s interface {
	storage.Reader
	storage.Lister
}, dir string, keys []string,
) ([]string, error) {
	pins, err := readPins(ctx, s, dir)
	if err != nil || len(pins) == 0 {
		return keys, err
	}
	k := newKeep(dir)
	for _, p := range pins {
		if err := k.pin(ctx, s, p); err != nil {
			return nil, err
		}
	}
	var out []string
	for _, key := range keys {
		if !k.holds(key) {
			out = append(out, key)
		}
	}
	return out, nil
}
