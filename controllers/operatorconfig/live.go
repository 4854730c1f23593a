// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// pollEvery is how often the file is looked at. A mounted config map takes longer to change than that.
const pollEvery = 5 * time.Second

// Live is the configuration of an operator that runs: that of the newest file that was valid. All methods are safe for concurrent use.
type Live struct {
	path    string
	log     logr.Logger
	clock   clock.WithTicker
	current atomic.Pointer[OperatorConfig]
	changes chan event.TypedGenericEvent[struct{}]
	valid   prometheus.Gauge
	reloads *prometheus.CounterVec

	// Those below belong to Start once it runs.
	// seen is the content in force; nil: there has been no valid file yet.
	seen    []byte
	refused string
}

// Open reads the file at path for the first time; an error says what is wrong with it, as there is no older one to keep to. An empty path
// is a configuration without defaults that never changes. A file that isn't there, in a directory that is, has no defaults either, and is taken up when it comes:
// the config map that it is in may be made later. The clock is for tests; nil is the real one.
func Open(ctx context.Context, path string, log logr.Logger, c clock.WithTicker) (*Live, error) {
	if c == nil {
		c = clock.RealClock{}
	}
	l := &Live{
		path: path, log: log, clock: c,
		changes: make(chan event.TypedGenericEvent[struct{}], 1),
		valid: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_operator_config_valid", Help: "1 when the newest configuration file is in force, 0 when an older one is because it is invalid.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_operator_config_reloads_total", Help: "Changes of the configuration file since the operator was started, by result.",
		}, []string{"result"}),
	}
	l.valid.Set(1)
	l.current.Store(&OperatorConfig{})
	if path == "" {
		return l, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && isDirectory(filepath.Dir(path)) {
		log.Info("There is no configuration file yet: no defaults are in force", "file", path)
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of the operator (--config): %w", err)
	}
	parsed, err := Parse(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%s (--config): %w", path, err)
	}
	l.seen = text
	l.current.Store(parsed)
	return l, nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// For returns what is in force in a namespace.
func (l *Live) For(namespace string) Defaults { return l.current.Load().For(namespace) }

// Changes tells that another configuration is in force. The channel is never closed.
func (l *Live) Changes() <-chan event.TypedGenericEvent[struct{}] { return l.changes }

// NeedLeaderElection says that an operator that waits for its turn knows the newest configuration, too.
func (l *Live) NeedLeaderElection() bool { return false }

// Start looks after the file until ctx ends.
func (l *Live) Start(ctx context.Context) error {
	if l.path == "" {
		<-ctx.Done()
		return nil
	}
	ticker := l.clock.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			l.look(ctx)
		}
	}
}

// look takes the file up when it has changed and is valid; else the last good one stays in force.
func (l *Live) look(ctx context.Context) {
	text, err := os.ReadFile(l.path)
	same := l.seen != nil && err == nil && bytes.Equal(text, l.seen) || l.seen == nil && errors.Is(err, fs.ErrNotExist)
	if same {
		if l.refused != "" { // it was not readable for a moment
			l.refused = ""
			l.valid.Set(1)
		}
		return
	}
	var parsed *OperatorConfig
	if err == nil {
		parsed, err = Parse(ctx, text)
	}
	if err != nil {
		if message := err.Error(); message != l.refused {
			l.refused = message
			l.valid.Set(0)
			l.reloads.WithLabelValues("refused").Inc()
			l.log.Error(err, "Keeping the configuration that is in force: the file is invalid", "file", l.path)
		}
		return
	}
	l.seen, l.refused = text, ""
	l.current.Store(parsed)
	l.valid.Set(1)
	l.reloads.WithLabelValues("taken").Inc()
	l.log.Info("Taking the changed configuration up", "file", l.path, "namespaces", len(parsed.Namespaces))
	select {
	case l.changes <- event.TypedGenericEvent[struct{}]{}:
	default: // a change that nobody has taken yet stands for this one, too
	}
}

// Describe implements [prometheus.Collector].
func (l *Live) Describe(ch chan<- *prometheus.Desc) {
	l.valid.Describe(ch)
	l.reloads.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (l *Live) Collect(ch chan<- prometheus.Metric) {
	l.valid.Collect(ch)
	l.reloads.Collect(ch)
}
