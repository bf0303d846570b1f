// Writes what faasd makes of the compose files in ../cases.txt; ../faasd.rs compares our answers with it.
//
// It needs faasd's sources, because its module cannot be fetched alone:
//
//	git clone https://github.com/openfaas/faasd && cd faasd && git checkout 13f03f3
//	mkdir cmd/reference && cp .../main.go cmd/reference
//	go run -mod=vendor ./cmd/reference < .../cases.txt > .../faasd.tsv
//
// Columns: the case, "accepted" or "refused", and the services as JSON or the reason.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openfaas/faasd/pkg"
)

func main() {
	cases, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	folder, err := os.MkdirTemp("", "faasd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	for _, text := range strings.Split(string(cases), "=== ")[1:] {
		name, rest, _ := strings.Cut(text, "\n")
		_, file, _ := strings.Cut(rest, "---\n")
		if err := os.WriteFile(filepath.Join(folder, "docker-compose.yaml"), []byte(file), 0o600); err != nil {
			panic(err)
		}
		services, err := load(folder)
		if err != nil {
			fmt.Printf("%s\trefused\t%s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		answer, err := json.Marshal(services)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\taccepted\t%s\n", name, strings.ReplaceAll(string(answer), folder, "/var/lib/faasd"))
	}
}

// What `faasd up` does with its file before it starts anything.
func load(folder string) ([]pkg.Service, error) {
	config, err := pkg.LoadComposeFileWithArch(folder, "docker-compose.yaml", func() (string, string) { return "x86_64", "Linux" })
	if err != nil {
		return nil, err
	}
	return pkg.ParseCompose(config)
}
