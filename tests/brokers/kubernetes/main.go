// The API server of Kubernetes with the etcd that it keeps everything in, as one process, and kubectl to talk to it:
// ../kubernetes.sh builds it and says with which flags it runs.
//
//	kubernetes kubectl ARGUMENT...
//	ETCD_DIR=folder ETCD_PORT=number kubernetes --flag-of-the-api-server=value...
//
// There are no nodes, no scheduler and no controllers: whatever is created stays as it is.
package main

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "kubectl" {
		os.Args = os.Args[1:]
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	}
	code, err := serve()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// serve runs etcd, and the API server until it is told to end.
func serve() (int, error) {
	config, err := storage()
	if err != nil {
		return 1, err
	}
	store, err := embed.StartEtcd(config)
	if err != nil {
		return 1, fmt.Errorf("etcd does not start: %w", err)
	}
	defer store.Close()
	select {
	case <-store.Server.ReadyNotify():
	case err := <-store.Err():
		return 1, fmt.Errorf("etcd does not start: %w", err)
	case <-time.After(time.Minute):
		return 1, fmt.Errorf("etcd does not start within a minute")
	}
	server := app.NewAPIServerCommand()
	server.SetArgs(append(os.Args[1:], "--etcd-servers="+config.ListenClientUrls[0].String()))
	return cli.Run(server), nil
}

// storage is one etcd without companions, for this machine alone.
func storage() (*embed.Config, error) {
	port, err := strconv.Atoi(os.Getenv("ETCD_PORT"))
	if err != nil {
		return nil, fmt.Errorf("ETCD_PORT: %w", err)
	}
	config := embed.NewConfig()
	config.Dir = os.Getenv("ETCD_DIR")
	config.LogLevel = "warn"
	// What it has written outlives a kill -9 of the process, if not of the machine.
	config.UnsafeNoFsync = true
	clients, peers := local(port), local(port+1)
	config.ListenClientUrls, config.AdvertiseClientUrls = clients, clients
	config.ListenPeerUrls, config.AdvertisePeerUrls = peers, peers
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	return config, nil
}

func local(port int) []url.URL {
	return []url.URL{{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}}
}
