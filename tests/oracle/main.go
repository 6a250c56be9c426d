// The oracle answers what multus itself makes of a networks annotation and of a delegate file, and
// what the network-attachment-definition-client makes of a CNI result. One JSON request a line on
// standard input, one JSON answer a line on standard output, in the same order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types/create"
	nadutils "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/utils"
	"gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/k8sclient"
	"gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/logging"
	"gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const networksAnnotation = "k8s.v1.cni.cncf.io/networks"

// request asks one question: networks (namespace, annotation), statuses (network, result) or
// a teardown (delegates).
type request struct {
	Delegates  *string         `json:"delegates"`
	Namespace  string          `json:"namespace"`
	Annotation *string         `json:"annotation"`
	Network    string          `json:"network"`
	Result     json.RawMessage `json:"result"`
}

// answer holds the value, or the error (a panic of the code under question is one, too).
type answer struct {
	Value any    `json:"value"`
	Error string `json:"error,omitempty"`
	Panic bool   `json:"panic,omitempty"`
}

func networks(namespace, annotation string) (any, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace:   namespace,
		Name:        "pod",
		Annotations: map[string]string{networksAnnotation: annotation},
	}}
	list, err := k8sclient.GetPodNetwork(pod)
	if _, none := err.(*k8sclient.NoK8sNetworkError); none {
		return []any{}, nil
	}
	return list, err
}

func statuses(network string, result []byte) (any, error) {
	var version struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(result, &version); err != nil {
		return nil, err
	}
	parsed, err := create.Create(version.CNIVersion, result)
	if err != nil {
		return nil, err
	}
	return nadutils.CreateNetworkStatuses(parsed, network, false, nil)
}

// delegate is what a teardown would DEL.
type delegate struct {
	Interface string `json:"interface"`
	List      bool   `json:"list"`
	Version   string `json:"version"`
	Plugins   int    `json:"plugins"`
	Declared  bool   `json:"declared"`
	Error     string `json:"error"`
}

// teardown reads a delegate file as CmdDel does, up to the calls of the plugins.
func teardown(file string) (any, error) {
	delegates := []*types.DelegateNetConf{}
	if err := json.Unmarshal([]byte(file), &delegates); err != nil {
		return nil, err
	}
	for _, v := range delegates {
		if len(v.ConfList.Plugins) != 0 {
			v.ConfListPlugin = true
		}
	}
	delegates[0].MasterPlugin = true
	answers := []delegate{}
	for _, v := range delegates {
		if v.ConfListPlugin && v.ConfList.CNIVersion == "" {
			return nil, fmt.Errorf("multus would build the bytes of %s again", v.Name)
		}
		answer := delegate{Interface: v.IfnameRequest, List: v.ConfListPlugin}
		list, err := libcni.ConfListFromBytes(v.Bytes)
		if err != nil {
			answer.Error = err.Error()
		} else {
			answer.Version, answer.Plugins = list.CNIVersion, len(list.Plugins)
			for _, plugin := range list.Plugins {
				answer.Declared = answer.Declared || len(plugin.Network.Capabilities) != 0
			}
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func ask(line []byte) (out answer) {
	defer func() {
		if cause := recover(); cause != nil {
			out = answer{Error: fmt.Sprint(cause), Panic: true}
		}
	}()
	var question request
	if err := json.Unmarshal(line, &question); err != nil {
		return answer{Error: "the oracle cannot read the request: " + err.Error()}
	}
	var value any
	var err error
	if question.Annotation != nil {
		value, err = networks(question.Namespace, *question.Annotation)
	} else if question.Delegates != nil {
		value, err = teardown(*question.Delegates)
	} else {
		value, err = statuses(question.Network, question.Result)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Value: value}
}

func main() {
	logging.SetLogStderr(false)
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := encoder.Encode(ask(line)); err != nil {
			fmt.Fprintln(os.Stderr, "oracle:", err)
			os.Exit(1)
		}
		if input.Buffered() == 0 {
			output.Flush()
		}
	}
}
