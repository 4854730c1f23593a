// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// templateCheck collects what is wrong with a template.
type templateCheck struct {
	spec      *streamv1.StreamJobSpec
	component string
	t         *streamv1.PodTemplate
	path      *field.Path
	found     field.ErrorList
}

// checkTemplates finds what in the templates of pods cannot be, or would take the place of what the engine depends on.
func checkTemplates(spec *streamv1.StreamJobSpec) []string {
	var found []string
	for _, c := range []templateCheck{
		{spec: spec, component: WorkerComponent, t: workerTemplate(spec), path: field.NewPath("spec", "workers", "podTemplate")},
		{spec: spec, component: CoordinatorComponent, t: coordinatorTemplate(spec), path: field.NewPath("spec", "coordinator", "podTemplate")},
	} {
		if c.t == nil {
			continue
		}
		c.metadata()
		c.scheduling()
		c.volumes()
		c.containers()
		for _, err := range c.found {
			found = append(found, err.Error())
		}
	}
	return found
}

func (c *templateCheck) add(err *field.Error) { c.found = append(c.found, err) }

// metadata checks labels and annotations.
func (c *templateCheck) metadata() {
	labels, annotations := texts(c.t.Labels), texts(c.t.Annotations)
	c.found = append(c.found, metav1validation.ValidateLabels(labels, c.path.Child("labels"))...)
	c.found = append(c.found, apivalidation.ValidateAnnotations(annotations, c.path.Child("annotations"))...)
	c.found = append(c.found, metav1validation.ValidateLabels(texts(c.t.NodeSelector), c.path.Child("nodeSelector"))...)
	for name, keys := range map[string]map[string]string{"labels": labels, "annotations": annotations} {
		for key := range keys {
			if domain, _, _ := strings.Cut(key, "/"); domain == streamv1.SchemeGroupVersion.Group || strings.HasSuffix(domain, "."+streamv1.SchemeGroupVersion.Group) {
				c.add(field.Forbidden(c.path.Child(name).Key(key), "keys of this group are those of the operator: choose another"))
			}
		}
	}
	slices.SortFunc(c.found, func(a, b *field.Error) int { return strings.Compare(a.Error(), b.Error()) })
}

func (c *templateCheck) scheduling() {
	if c.t.ServiceAccountToken == tokenMounted && c.t.ServiceAccountName == "" {
		c.add(field.Required(c.path.Child("serviceAccountName"), "name the service account whose token the pods get, or leave serviceAccountToken out"))
	}
	if c.t.Affinity != nil {
		if err := strict(c.t.Affinity.Raw, new(corev1.Affinity)); err != nil {
			c.add(field.Invalid(c.path.Child("affinity"), field.OmitValueType{}, fmt.Sprintf("it is not the affinity of a Kubernetes pod: %v", err)))
		}
	}
	for i, t := range c.t.Tolerations {
		if t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable {
			c.add(field.Forbidden(c.path.Child("tolerations").Index(i).Child("key"), "how long a lost node is waited for is spec.workers.lostNodeTimeout"))
		}
	}
}

// engineVolumes are the volumes that pods have already.
var engineVolumes = []string{jobVolume, tlsVolume, temporaryVolume, storageVolume, localVolume}

func (c *templateCheck) volumes() {
	names := map[string]bool{}
	for i, v := range c.t.Volumes {
		at := c.path.Child("volumes").Index(i)
		switch {
		case slices.Contains(engineVolumes, v.Name):
			c.add(field.Forbidden(at.Child("name"), fmt.Sprintf("the pods have a volume %q of the engine: choose another name", v.Name)))
		case names[v.Name]:
			c.add(field.Duplicate(at.Child("name"), v.Name))
		}
		names[v.Name] = true
		if v.Ephemeral != nil && (v.Ephemeral.Size == nil || v.Ephemeral.Size.Sign() <= 0) {
			c.add(field.Required(at.Child("ephemeral", "size"), "say how much it asks for"))
		}
	}
}

func (c *templateCheck) containers() {
	names, ports := map[string]bool{}, c.enginePorts()
	for i := range c.t.Containers {
		from, at := &c.t.Containers[i], c.path.Child("containers").Index(i)
		c.name(names, from.Name, at)
		if from.Name == c.component {
			c.engineContainer(from, at)
		} else if from.Image == "" {
			c.add(field.Required(at.Child("image"), fmt.Sprintf("container %q runs beside that of the engine, which is named %q: say what it runs", from.Name, c.component)))
		}
		c.environment(from.Env, at)
		c.mounts(from.VolumeMounts, at)
		for j, p := range from.Ports {
			if what, taken := ports[p.ContainerPort]; taken {
				c.add(field.Forbidden(at.Child("ports").Index(j), fmt.Sprintf("port %d of the pod is that of %s: choose another", p.ContainerPort, what)))
			}
			if slices.Contains([]string{controlPortName, apiPortName, dataPortName, healthPortName}, p.Name) {
				c.add(field.Forbidden(at.Child("ports").Index(j).Child("name"), fmt.Sprintf("%q is the name of a port of the engine: choose another", p.Name)))
			}
			ports[p.ContainerPort] = "container " + from.Name
		}
	}
	for i := range c.t.InitContainers {
		from, at := &c.t.InitContainers[i], c.path.Child("initContainers").Index(i)
		c.name(names, from.Name, at)
		if from.Name == c.component {
			c.add(field.Forbidden(at.Child("name"), "this is the name of the container of the engine: choose another"))
		}
		c.environment(from.Env, at)
		c.mounts(from.VolumeMounts, at)
	}
}

// enginePorts are the ports of a pod that are taken, which all its containers share.
func (c *templateCheck) enginePorts() map[int32]string {
	if c.component == WorkerComponent {
		return map[int32]string{DataPort: "the engine", HealthPort: "the engine"}
	}
	return map[int32]string{ControlPort: "the engine", APIPort: "the engine", HealthPort: "the engine"}
}

func (c *templateCheck) name(names map[string]bool, name string, at *field.Path) {
	switch {
	case names[name]:
		c.add(field.Duplicate(at.Child("name"), name))
	case name != c.component && slices.Contains([]string{CoordinatorComponent, WorkerComponent, AgentComponent}, name):
		c.add(field.Forbidden(at.Child("name"), fmt.Sprintf("the container of the engine is named %q here; %q is the name of another of its containers", c.component, name)))
	}
	names[name] = true
}

// engineContainer checks what is added to the container of the engine.
func (c *templateCheck) engineContainer(from *streamv1.PodContainer, at *field.Path) {
	const whose = "it is set by the operator"
	if from.Image != "" || from.ImagePullPolicy != "" {
		c.add(field.Forbidden(at.Child("image"), whose+": spec.program.image is the image of a program"))
	}
	if len(from.Command) > 0 {
		c.add(field.Forbidden(at.Child("command"), whose))
	}
	if len(from.Args) > 0 {
		c.add(field.Forbidden(at.Child("args"), whose+": spec.program.args are handed to a program"))
	}
	if from.Resources != nil {
		c.add(field.Forbidden(at.Child("resources"), fmt.Sprintf("%s from spec.%ss.resources: set them there", whose, c.component)))
	}
	taken := c.engineEnvironment()
	for i, e := range from.Env {
		if slices.Contains(taken, e.Name) {
			c.add(field.Forbidden(at.Child("env").Index(i).Child("name"), fmt.Sprintf("%s is set by the operator", e.Name)))
		}
	}
	directories := c.engineDirectories()
	for i, m := range from.VolumeMounts {
		clean := path.Clean(m.MountPath)
		for _, d := range directories {
			if within(clean, d) || within(d, clean) {
				c.add(field.Forbidden(at.Child("volumeMounts").Index(i).Child("mountPath"), fmt.Sprintf("the engine needs %s: choose a path beside it", d)))
			}
		}
	}
}

// engineEnvironment returns the variables that the operator sets in the container of the engine.
func (c *templateCheck) engineEnvironment() []string {
	taken := []string{podIPVariable, podNameVariable}
	if s := c.spec.Storage; s != nil && s.S3 != nil && s.S3.CredentialsSecretRef != nil {
		taken = append(taken, accessKeyID, secretAccessKey, sessionToken)
	}
	if c.spec.Tracing != nil && c.component == CoordinatorComponent {
		taken = append(taken, contract.VariableEndpoint)
	}
	return taken
}

// engineDirectories returns the paths that the engine needs in its container.
func (c *templateCheck) engineDirectories() []string {
	directories := []string{configDirectory, temporary, localDirectory, terminationLog, engineCommand}
	if s := c.spec.Storage; s != nil && s.Volume != nil {
		directories = append(directories, path.Clean(s.Volume.Path))
	}
	return directories
}

// environment checks the variables of a container. What is written into the spec can be read by everybody who may read StreamJobs.
func (c *templateCheck) environment(env []streamv1.EnvVar, at *field.Path) {
	names := map[string]bool{}
	for i, e := range env {
		at := at.Child("env").Index(i)
		if names[e.Name] {
			c.add(field.Duplicate(at.Child("name"), e.Name))
		}
		names[e.Name] = true
		if e.Value != "" && slices.Contains([]string{accessKeyID, secretAccessKey, sessionToken}, e.Name) {
			c.add(field.Forbidden(at.Child("value"), "credentials are not written into a StreamJob: put them into a secret and set valueFrom.secretKeyRef, or spec.storage.s3.credentialsSecretRef"))
		}
	}
}

// mounts checks where volumes of the template are mounted.
func (c *templateCheck) mounts(mounts []streamv1.VolumeMount, at *field.Path) {
	paths := map[string]bool{}
	for i, m := range mounts {
		at := at.Child("volumeMounts").Index(i)
		if !slices.ContainsFunc(c.t.Volumes, func(v streamv1.PodVolume) bool { return v.Name == m.Name }) {
			c.add(field.NotFound(at.Child("name"), m.Name))
		}
		clean := path.Clean(m.MountPath)
		switch {
		case clean == "/" || slices.Contains(strings.Split(m.MountPath, "/"), ".."):
			c.add(field.Invalid(at.Child("mountPath"), m.MountPath, "give an absolute path below / without .."))
		case paths[clean]:
			c.add(field.Duplicate(at.Child("mountPath"), m.MountPath))
		}
		paths[clean] = true
		if path.IsAbs(m.SubPath) || slices.Contains(strings.Split(m.SubPath, "/"), "..") {
			c.add(field.Invalid(at.Child("subPath"), m.SubPath, "give a path relative to the volume without .."))
		}
	}
}
