package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"swordfish/config"
)

// manifest has those fields of Kubernetes' objects that have to agree with each other and with swordfishd.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		ClusterIP   string `yaml:"clusterIP"`
		ServiceName string `yaml:"serviceName"`
		Ports       []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Spec struct {
				GracePeriod int `yaml:"terminationGracePeriodSeconds"`
				Security    struct {
					NonRoot bool `yaml:"runAsNonRoot"`
					User    int  `yaml:"runAsUser"`
				} `yaml:"securityContext"`
				Containers []struct {
					Args []string
					Env  []struct {
						Name      string
						ValueFrom struct {
							Secret struct{ Name, Key string } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					StartupProbe   probe `yaml:"startupProbe"`
					LivenessProbe  probe `yaml:"livenessProbe"`
					ReadinessProbe probe `yaml:"readinessProbe"`
					Resources      struct {
						Limits map[string]string
					}
					Security struct {
						Escalation *bool `yaml:"allowPrivilegeEscalation"`
						ReadOnly   bool  `yaml:"readOnlyRootFilesystem"`
					} `yaml:"securityContext"`
					Mounts []struct {
						Name string
						Path string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					EmptyDir  map[string]string     `yaml:"emptyDir"`
				}
			}
		}
	}
}

type probe struct {
	HTTP struct{ Path, Port string } `yaml:"httpGet"`
}

func manifests(t *testing.T) map[string]*manifest {
	t.Helper()
	b, err := os.ReadFile("kubernetes/swordfish.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*manifest{}
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		m := new(manifest)
		if err := d.Decode(m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if all[m.Kind] != nil {
			t.Errorf("there are two of kind %s", m.Kind)
		}
		all[m.Kind] = m
	}
}

// The manifest starts swordfishd with options and a configuration that it accepts, lets Kubernetes ask where it listens, and has
// the user of the Dockerfile.
func TestKubernetesManifest(t *testing.T) {
	all := manifests(t)
	set, service, file := all["StatefulSet"], all["Service"], all["ConfigMap"]
	if set == nil || service == nil || file == nil || len(set.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("got %v", all)
	}
	pod := &set.Spec.Template.Spec
	c := &pod.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom.Secret.Name == "" || e.ValueFrom.Secret.Key != e.Name {
			t.Errorf("%s is not in a secret", e.Name)
		}
		env[e.Name] = map[string]string{"DATABASE_URL": "postgres://u:p@localhost/demo"}[e.Name] + strings.Repeat("x", 16)
	}
	name := c.Args[len(c.Args)-1]
	if len(c.Mounts) != 2 || len(pod.Volumes) != 2 || pod.Volumes[0].ConfigMap.Name != file.Metadata.Name || !strings.HasPrefix(name, c.Mounts[0].Path+"/") {
		t.Fatalf("%s is not mounted by %+v", name, c.Mounts)
	}
	// The root file system is read-only; temporary files have a place of their own.
	if tmp := &pod.Volumes[1]; c.Mounts[1].Path != "/tmp" || c.Mounts[1].Name != tmp.Name || tmp.EmptyDir["sizeLimit"] == "" {
		t.Errorf("temporary files: %+v, %+v", c.Mounts[1], *tmp)
	}
	conf, err := config.Load(config.Input{
		Args: c.Args, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(asked string) ([]byte, error) {
			text, ok := file.Data[strings.TrimPrefix(asked, c.Mounts[0].Path+"/")]
			if !ok {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]int{}
	for _, p := range c.Ports {
		ports[p.Name] = p.Port
	}
	if _, port, _ := net.SplitHostPort(conf.Admin.Listen); port != strconv.Itoa(ports["admin"]) || conf.Port != ports["memcached"] {
		t.Errorf("it listens on %d and %s, the ports are %v", conf.Port, conf.Admin.Listen, ports)
	}
	for i, p := range []probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if want := []string{"/livez", "/livez", "/readyz"}[i]; p.HTTP.Path != want || ports[p.HTTP.Port] != ports["admin"] {
			t.Errorf("probe %d asks %+v, want %s", i, p.HTTP, want)
		}
	}
	for _, p := range service.Spec.Ports {
		if ports[p.TargetPort] == 0 || ports[p.TargetPort] != p.Port {
			t.Errorf("the service has %+v", p)
		}
	}
	if service.Spec.ClusterIP != "None" || set.Spec.ServiceName != service.Metadata.Name {
		t.Errorf("the pods have no names: %s, %s", service.Spec.ClusterIP, set.Spec.ServiceName)
	}
	limit, err := strconv.ParseInt(strings.TrimSuffix(c.Resources.Limits["memory"], "Mi"), 10, 64)
	if m := conf.Memory >> 20; err != nil || limit < m+m/4 {
		t.Errorf("-m is %d MiB, the limit %s", m, c.Resources.Limits["memory"])
	}
	if pod.GracePeriod < 15 || !pod.Security.NonRoot || !c.Security.ReadOnly || c.Security.Escalation == nil || *c.Security.Escalation {
		t.Errorf("pod %+v, container %+v", pod.Security, c.Security)
	}
	docker, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(string(docker))
	if user == nil || user[1] == "0" || user[1] != fmt.Sprint(pod.Security.User) {
		t.Errorf("the Dockerfile's user is %v, the pod's %d", user, pod.Security.User)
	}
	stages := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(docker), -1)
	if last := stages[len(stages)-1][1]; last != "scratch" || !slices.Contains(strings.Fields(string(docker)), "CGO_ENABLED=0") {
		t.Errorf("the image is made from %s", last)
	}
}
