// A DRA driver for the kubelet: `dra-driver NAME`, with KUBECONFIG and kubectl.
//
// The kubelet finds its socket, asks who it is, and has it prepare the devices of a claim. There is nothing to
// prepare: it tells which devices the scheduler has allocated, as the claim's status says. A file `registered` beside its
// socket says that the kubelet knows it.
//
// In Go, because the kubelet calls a socket by a name (":authority") that Rust's h2 refuses.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/grpc"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// Where the kubelet looks for sockets of drivers.
	registry = "/var/lib/kubelet/plugins_registry"
	plugins  = "/var/lib/kubelet/plugins"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dra-driver NAME")
		os.Exit(1)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dra-driver:", err)
		os.Exit(1)
	}
}

func run(name string) error {
	directory := filepath.Join(plugins, name)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	endpoint := filepath.Join(directory, "dra.sock")
	driver, identity := grpc.NewServer(), grpc.NewServer()
	dra.RegisterDRAPluginServer(driver, preparer{})
	info := &registration.PluginInfo{
		Type:              registration.DRAPlugin,
		Name:              name,
		Endpoint:          endpoint,
		SupportedVersions: []string{dra.DRAPluginService},
	}
	registration.RegisterRegistrationServer(identity, registrant{info: info, registered: filepath.Join(directory, "registered")})
	ended := make(chan error)
	serve := func(server *grpc.Server, path string) error {
		// The socket of an earlier run.
		_ = os.Remove(path)
		listener, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go func() { ended <- server.Serve(listener) }()
		return nil
	}
	if err := serve(driver, endpoint); err != nil {
		return err
	}
	// The kubelet calls as soon as it sees this one.
	if err := serve(identity, filepath.Join(registry, name+"-reg.sock")); err != nil {
		return err
	}
	return <-ended
}

type registrant struct {
	registration.UnimplementedRegistrationServer
	info       *registration.PluginInfo
	registered string
}

func (r registrant) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return r.info, nil
}

func (r registrant) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		return nil, fmt.Errorf("not registered: %s", status.Error)
	}
	return &registration.RegistrationStatusResponse{}, os.WriteFile(r.registered, nil, 0o600)
}

type preparer struct {
	dra.UnimplementedDRAPluginServer
}

func (preparer) NodePrepareResources(
	ctx context.Context, request *dra.NodePrepareResourcesRequest,
) (*dra.NodePrepareResourcesResponse, error) {
	claims := map[string]*dra.NodePrepareResourceResponse{}
	for _, claim := range request.Claims {
		devices, err := allocated(ctx, claim)
		prepared := &dra.NodePrepareResourceResponse{Devices: devices}
		if err != nil {
			prepared.Error = err.Error()
		}
		claims[claim.Uid] = prepared
	}
	return &dra.NodePrepareResourcesResponse{Claims: claims}, nil
}

func (preparer) NodeUnprepareResources(
	_ context.Context, request *dra.NodeUnprepareResourcesRequest,
) (*dra.NodeUnprepareResourcesResponse, error) {
	claims := map[string]*dra.NodeUnprepareResourceResponse{}
	for _, claim := range request.Claims {
		claims[claim.Uid] = &dra.NodeUnprepareResourceResponse{}
	}
	return &dra.NodeUnprepareResourcesResponse{Claims: claims}, nil
}

func allocated(ctx context.Context, claim *dra.Claim) ([]*dra.Device, error) {
	get := exec.CommandContext(ctx, "kubectl", "--namespace", claim.Namespace, "get", "resourceclaim", claim.Name,
		"--output=jsonpath={.status.allocation.devices.results}")
	printed, err := get.Output()
	if err != nil {
		return nil, fmt.Errorf("read the claim: %w", err)
	}
	var results []struct{ Request, Pool, Device string }
	if err := json.Unmarshal(printed, &results); err != nil {
		return nil, fmt.Errorf("read the claim's devices: %w", err)
	}
	var devices []*dra.Device
	for _, result := range results {
		devices = append(devices, &dra.Device{
			RequestNames: []string{result.Request}, PoolName: result.Pool, DeviceName: result.Device,
		})
	}
	return devices, nil
}
