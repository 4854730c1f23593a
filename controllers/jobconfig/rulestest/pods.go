// SPDX-License-Identifier: Apache-2.0

package rulestest

import "fmt"

// podRules are those of what is added to pods.
func podRules() map[string]Case {
	worker := func(field string) string {
		return WithSpec(fmt.Sprintf("workers: {podTemplate: {containers: [{name: worker, %s}]}}", field))
	}
	volume := func(source string) string {
		return WithSpec(fmt.Sprintf("coordinator: {podTemplate: {volumes: [{name: v, %s}]}}", source))
	}
	const container = "spec.workers.podTemplate.containers[0]"
	return map[string]Case{
		"value or valueFrom": {
			Accept: []string{worker("env: [{name: A, value: b}]"), worker("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]")},
			Reject: worker("env: [{name: A, value: b, valueFrom: {secretKeyRef: {name: s, key: k}}}]"),
			Want:   []string{container + ".env[0]: Invalid value: set value or valueFrom, not both"},
		},
		"one source of a variable": {
			Accept: []string{worker("env: [{name: A, valueFrom: {configMapKeyRef: {name: s, key: k}}}]"), worker("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]")},
			Reject: worker("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}, configMapKeyRef: {name: s, key: k}}}]"),
			Want:   []string{container + ".env[0].valueFrom: Invalid value: exactly one of the fields in [configMapKeyRef secretKeyRef fieldRef] must be set"},
		},
		"one source of variables": {
			Accept: []string{worker("envFrom: [{configMapRef: {name: c}}, {prefix: P_, secretRef: {name: s}}]")},
			Reject: worker("envFrom: [{configMapRef: {name: c}, secretRef: {name: s}}]"),
			Want:   []string{container + ".envFrom[0]: Invalid value: exactly one of the fields in [configMapRef secretRef] must be set"},
		},
		"one source of a volume": {
			Accept: []string{volume("emptyDir: {}"), volume("persistentVolumeClaim: {claimName: c}")},
			Reject: volume("secret: {name: s}, configMap: {name: c}"),
			Want: []string{"spec.coordinator.podTemplate.volumes[0]: Invalid value: " +
				"exactly one of the fields in [configMap secret emptyDir persistentVolumeClaim ephemeral] must be set"},
		},
		"lostNodeTimeout": {
			Accept: []string{WithSpec("workers: {lostNodeTimeout: 1s}"), WithSpec("workers: {lostNodeTimeout: 24h}")},
			Reject: WithSpec("workers: {lostNodeTimeout: 25h}"),
			Want:   []string{`spec.workers.lostNodeTimeout: Invalid value: "25h": lostNodeTimeout must be between 1s and 24h`},
		},
	}
}

// snapshotRules are those of what a job says about its snapshots.
func snapshotRules() map[string]Case {
	const storage = "storage: {s3: {bucket: bkt}}"
	return map[string]Case{
		"one snapshot to restore from": {
			Accept: []string{WithSpec("restoreFrom: {path: s3://bkt/sp}"), WithSpec("restoreFrom: {snapshot: before}")},
			Reject: WithSpec("restoreFrom: {path: s3://bkt/sp, snapshot: before}"),
			Want:   []string{"spec.restoreFrom: Invalid value: exactly one of the fields in [path snapshot] must be set"},
		},
		"retention of a schedule": {
			Accept: []string{WithSpec(storage, `savepoint: {schedule: "0 3 * * *", retention: {count: 3}}`)},
			Reject: WithSpec(storage, "savepoint: {retention: {count: 3}}"),
			Want:   []string{"spec.savepoint.retention: Invalid value: retention is about the savepoints of a schedule: set schedule"},
		},
		"maxAge": {
			Accept: []string{WithSpec(storage, `savepoint: {schedule: "0 3 * * *", retention: {maxAge: 1m}}`)},
			Reject: WithSpec(storage, `savepoint: {schedule: "0 3 * * *", retention: {maxAge: 59s}}`),
			Want:   []string{`spec.savepoint.retention.maxAge: Invalid value: "59s": maxAge must be at least 1m`},
		},
	}
}
