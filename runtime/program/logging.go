// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"github.com/go-logr/logr"
)

// JSONLogger logs one JSON object a line, as pods do.
func JSONLogger(w io.Writer) logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(w, nil))
}

// PlainLogger logs text for people: warnings, errors and what dataflow operators log; with verbose > 0 also what the
// engine does, the more the higher.
func PlainLogger(w io.Writer, verbose int) logr.Logger {
	level := slog.LevelInfo
	if verbose > 0 {
		level = slog.Level(1 - verbose)
	}
	text := slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	if verbose > 0 {
		return logr.FromSlogHandler(text)
	}
	return logr.FromSlogHandler(operatorsOnly{Handler: text})
}

// operatorsOnly drops what is no warning and doesn't come from a dataflow operator.
type operatorsOnly struct {
	slog.Handler
	operator bool
}

// Handle implements slog.Handler.
func (h operatorsOnly) Handle(ctx context.Context, r slog.Record) error {
	if !h.operator && r.Level < slog.LevelWarn {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h operatorsOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	is := func(a slog.Attr) bool { return a.Key == "operator" }
	return operatorsOnly{Handler: h.Handler.WithAttrs(attrs), operator: h.operator || slices.ContainsFunc(attrs, is)}
}

// WithGroup implements slog.Handler.
func (h operatorsOnly) WithGroup(name string) slog.Handler {
	return operatorsOnly{Handler: h.Handler.WithGroup(name), operator: h.operator}
}
