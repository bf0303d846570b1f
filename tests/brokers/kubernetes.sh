#!/usr/bin/env bash
# The API server of Kubernetes for the tests, with its etcd, compiled from their Go modules: TLS by an authority of its
# own, RBAC, tokens of service accounts that it signs and checks. README.md beside this file has the verbs.
#
# No registry carries it ready-made. Compiling it takes a quarter of an hour on two cores and a Go newer than Debian's,
# so it is no part of `make test`: `make prove-kubernetes` is what wants it.
set -euo pipefail

kind=kubernetes
default_port=16443
port_step=3 # etcd listens at the two above: for the API server, and for companions that it has not
start_timeout=180
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/kubernetes
with_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

broker_fetch() {
  local sum version
  sum=$(cat "$files/main.go" "$files/go.mod" "$files/go.sum" | sha256sum | cut -c1-12)
  version=$(sed -n 's|^require k8s.io/kubernetes ||p' "$files/go.mod")
  server=$home/kubernetes-$version-$sum
  if [ -x "$server" ]; then
    return
  fi
  command -v go >/dev/null || die "go is missing: install Go 1.24 or newer, or put what $files makes at $server"
  "$root/tests/need.sh" openssl=openssl
  say "compiling Kubernetes $version into $home (about a quarter of an hour, once; 110 MB)"
  # Which release it is, its own build would say. Two compilers at a time: more would need more memory than small
  # machines have.
  local flags="-s -w -X k8s.io/component-base/version.gitVersion=$version"
  if ! (cd "$files" && CGO_ENABLED=0 go build -p 2 -trimpath -buildvcs=false -ldflags="$flags" -o "$home/built" .) >"$home/fetch.log" 2>&1; then
    tail -n 20 "$home/fetch.log" >&2
    die "could not compile it; run again, or see why: cd $files && go build -o /dev/null ."
  fi
  # Last, so that a build cut short is seen as such.
  mv "$home/built" "$server"
}

broker_prepare() {
  mkdir -p "$dir/data"
  [ -s "$dir/admin.conf" ] || certify
}

# An authority, what the API server shows its clients, the key that tokens of service accounts are signed with, and an
# administrator to begin with.
certify() {
  cat >"$dir/names" <<NAMES
subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc
NAMES
  (
    cd "$dir"
    openssl req -x509 -days 3650 -subj /CN=kubernetes -keyout ca.key -out ca.crt "${with_key[@]}"
    openssl ecparam -genkey -name prime256v1 -noout -out accounts.key
    sign server /CN=kubernetes -extfile names
    sign admin /O=system:masters/CN=admin
  ) >"$dir/certificates.log" 2>&1 || { cat "$dir/certificates.log" >&2; die "openssl fails"; }
  cat >"$dir/admin.conf" <<CONFIGURATION
apiVersion: v1
kind: Config
current-context: admin
contexts: [{name: admin, context: {cluster: kubernetes, user: admin}}]
clusters: [{name: kubernetes, cluster: {server: "https://127.0.0.1:$port", certificate-authority: "$dir/ca.crt"}}]
users: [{name: admin, user: {client-certificate: "$dir/admin.crt", client-key: "$dir/admin.key"}}]
CONFIGURATION
}

sign() {
  openssl req -subj "$2" -keyout "$1.key" -out "$1.csr" "${with_key[@]}"
  openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -in "$1.csr" -out "$1.crt" "${@:3}"
}

# A setting is a flag of the API server; of one that is given twice the last counts.
broker_command() {
  # shellcheck disable=SC2034 # read by broker.sh
  command=(
    env "ETCD_DIR=$dir/data" "ETCD_PORT=$((port + 1))" "$server"
    --bind-address=127.0.0.1
    "--secure-port=$port"
    # There is nobody who would look it up in the cluster, and a loopback address is refused.
    --endpoint-reconciler-type=none
    "--cert-dir=$dir"
    "--tls-cert-file=$dir/server.crt"
    "--tls-private-key-file=$dir/server.key"
    "--client-ca-file=$dir/ca.crt"
    --authorization-mode=RBAC
    --service-cluster-ip-range=10.96.0.0/16
    --service-account-issuer=https://kubernetes.default.svc
    "--service-account-key-file=$dir/accounts.key"
    "--service-account-signing-key-file=$dir/accounts.key"
  )
  local setting
  while read -r setting; do
    command+=("--$setting")
  done <"$dir/settings"
}

# Ready is more than listening: the roles that RBAC begins with are there.
broker_answers() {
  [ -s "$dir/admin.conf" ] && kubectl get --raw /readyz >/dev/null 2>&1
}

broker_tool() {
  case ${1:-} in
    kubectl) kubectl "${@:2}" ;;
    *) die "the tool is: kubectl" ;;
  esac
}

kubectl() {
  broker_fetch
  # What it caches of one server is not for another at the same port.
  "$server" kubectl --kubeconfig "$dir/admin.conf" --cache-dir "$dir/cache" --request-timeout=30s "$@"
}

# shellcheck source=tests/brokers/broker.sh
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
broker_main "$@"
