// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// maxSpecBytes is the largest spec that fits into a config map twice: as a revision and as the configuration of the job.
const maxSpecBytes = 450 << 10

const claimMissing = "spec.storage.volume.claimName: Required value: on Kubernetes the volume is a persistent volume claim in the namespace of the StreamJob: name one"

// Check returns what is wrong with a StreamJob that only matters on Kubernetes; nothing when it is fine. Each message starts
// with the path of the field and says what to do.
func Check(job *streamv1.StreamJob) []string {
	var found []string
	if s := job.Spec.Storage; s != nil && s.Volume != nil {
		found = append(found, checkVolume(s.Volume)...)
	}
	found = append(found, checkSavepoints(&job.Spec)...)
	if job.Spec.Dataflow != nil {
		found = append(found, checkPaths(job)...)
	}
	found = append(found, checkTemplates(&job.Spec)...)
	text, err := json.Marshal(job.Spec)
	switch {
	case err != nil:
		found = append(found, fmt.Sprintf("spec: Invalid value: it cannot be stored: %v", err))
	case len(text) > maxSpecBytes:
		found = append(found, fmt.Sprintf("spec: Too long: it has %d bytes of JSON, but at most %d can be handed to the pods: make the dataflow smaller", len(text), maxSpecBytes))
	}
	return found
}

// checkSavepoints finds savepoints that there is no place for. No rule of the API says so, as storage may be what the operator's configuration names.
func checkSavepoints(spec *streamv1.StreamJobSpec) []string {
	const remedy = " needs storage: set spec.storage.s3 or spec.storage.volume, or have the configuration of the operator name a storage before the job is started first"
	if spec.Storage != nil {
		return nil
	}
	var found []string
	if spec.Savepoint != nil {
		found = append(found, "spec.savepoint: Invalid value: a savepoint"+remedy)
	}
	if spec.DeletionPolicy == streamv1.SavepointOnDeletion {
		found = append(found, "spec.deletionPolicy: Invalid value: Savepoint"+remedy)
	}
	return found
}

// reserved are directories that pods need for themselves.
var reserved = []string{"/etc", "/dev", "/proc", "/sys"}

func checkVolume(v *streamv1.VolumeStorage) []string {
	var found []string
	if v.ClaimName == "" {
		found = append(found, claimMissing)
	}
	if problem := checkMountPath(v.Path); problem != "" {
		found = append(found, fmt.Sprintf("spec.storage.volume.path: Invalid value: %q: %s", v.Path, problem))
	}
	return found
}

// checkMountPath says what is wrong with a path to mount a volume at.
func checkMountPath(p string) string {
	clean := path.Clean(p)
	switch {
	case !path.IsAbs(p):
		return "on Kubernetes it is where the claim is mounted: give an absolute path"
	case strings.Contains(p, ":"):
		return "a path to mount at must not contain ':'"
	case clean == "/" || clean == temporary:
		return "pods need it for themselves: choose another, such as /data"
	}
	for _, r := range reserved {
		if within(clean, r) {
			return "pods need " + r + " for themselves: choose another, such as /data"
		}
	}
	return ""
}

// checkPaths finds files that only the pod that writes or looks for them would see.
func checkPaths(job *streamv1.StreamJob) []string {
	volume := ""
	if s := job.Spec.Storage; s != nil && s.Volume != nil {
		volume = path.Clean(s.Volume.Path)
	}
	var found []string
	check := func(field string, p streamv1.Location) {
		if strings.HasPrefix(string(p), "s3://") || (volume != "" && within(path.Clean(string(p)), volume)) {
			return
		}
		remedy := "use an s3:// path, or set storage.volume and use a path below its path"
		if volume != "" {
			remedy = fmt.Sprintf("use an s3:// path or one below storage.volume.path, %s", volume)
		}
		found = append(found, fmt.Sprintf("%s: Invalid value: %q: on Kubernetes every pod has files of its own: %s", field, p, remedy))
	}
	for i := range job.Spec.Dataflow.Operators {
		o := &job.Spec.Dataflow.Operators[i]
		field := fmt.Sprintf("spec.dataflow.operators[%d]", i)
		if o.Files != nil {
			check(field+".files.path", o.Files.Path)
			if o.Files.DeadLetter != nil {
				check(field+".files.deadLetter.path", o.Files.DeadLetter.Path)
			}
		}
		if o.FileSink != nil {
			check(field+".fileSink.path", o.FileSink.Path)
		}
	}
	return found
}

// within says whether p is directory or lies below it.
func within(p, directory string) bool {
	return p == directory || strings.HasPrefix(p, strings.TrimSuffix(directory, "/")+"/")
}
