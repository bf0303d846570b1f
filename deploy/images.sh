#!/usr/bin/env bash
# Container images, built on this machine, for its own architecture unless another is asked for.
#
#   deploy/images.sh stage IMAGE...   compile static binaries and lay out the images' files in target/images
#   deploy/images.sh build IMAGE...   that, and make the images
#   deploy/images.sh save IMAGE...    write images that were built to target/images, for hosts without a registry
#
# An image is named after its package. There are two of the Kafka connector: kafka-connector-msk is the one that can log in
# to Amazon MSK with IAM, which takes a fifth more.
#
# Variables: CONTAINER_ENGINE (docker; podman takes the same arguments), IMAGE_PREFIX (tributary), IMAGE_TAG (the version),
# CA_BUNDLE (this machine's), ARCHITECTURE (this machine's; aarch64 on another one takes Debian's gcc-aarch64-linux-gnu,
# g++-aarch64-linux-gnu and `rustup target add aarch64-unknown-linux-gnu`), and for labels IMAGE_SOURCE (a URL),
# IMAGE_REVISION (the commit).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

architecture=${ARCHITECTURE:-$(uname -m)}
# What the names of the other architecture's compiler and tools begin with.
cross=
[ "$architecture" = "$(uname -m)" ] || cross=$architecture-linux-gnu-
triple=$architecture-unknown-linux-gnu
stage=target/images
engine=${CONTAINER_ENGINE:-docker}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
tag=${IMAGE_TAG:-$version}
ca_bundle=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}

die() { echo "$*" >&2; exit 1; }
image() { echo "${IMAGE_PREFIX:-tributary}/$1:$tag"; }

# Static binaries of an older glibc look names up through shared libraries, which the images do not have, and cannot
# unpack the relocations asked for below.
need_glibc() {
  local glibc
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || die "static binaries are built with glibc, which this machine does not have"
  glibc=${glibc#glibc }
  [ "$(printf '%s\n' 2.36 "$glibc" | sort -V | head -n 1)" = 2.36 ] ||
    die "glibc 2.36 is needed (Debian 12, Ubuntu 22.10), this machine has $glibc"
}

# The architecture's name among images.
platform() {
  case $architecture in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) echo "$architecture" ;;
  esac
}

package() { echo "${1%-msk}"; }
binary() { echo "target/$triple/release/$(package "$1")"; }

# Compiled alone: in a build of several packages the features of all of them would come together.
compile() {
  local flags features=()
  [ "$1" != kafka-connector ] || features=(--no-default-features)
  # Packed relocations spare the larger binaries half a megabyte.
  flags="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"
  flags+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=crates --remap-path-prefix=$PWD=."
  # C code (OpenSSL, librdkafka, ring) for size too. It is never unwound through: a callback that panics ends the process.
  local c_flags="-Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables"
  # With a named target the flags are those of the binary, not of the build scripts and macros, which cannot be static.
  # The linker is named for the binary alone, which spares the libraries another build.
  # The binary keeps its symbols there, for whoever has to read a crash or a profile; the image gets it without.
  RUSTFLAGS=$flags CFLAGS=$c_flags CARGO_PROFILE_RELEASE_STRIP=false LINKER_CC=${cross:+${cross}gcc} env -u OPENSSL_NO_VENDOR \
    cargo rustc --locked --release --target "$triple" -p "$(package "$1")" --bin "$(package "$1")" \
    ${features[@]+"${features[@]}"} -- -C linker="$PWD/deploy/link/linker.sh"
  ! readelf --program-headers "$(binary "$1")" | grep -q INTERP || die "$(binary "$1") is not static"
  ! grep -q FAILPOINTS "$(binary "$1")" || die "$(binary "$1") has fail points, which are for tests alone"
  readelf --file-header "$(binary "$1")" | grep -q 'Type: *DYN' || die "$(binary "$1") has a fixed address"
}

lay_out() {
  local name root=$stage/$1
  name=$(package "$1")
  [ -r "$ca_bundle" ] || die "$ca_bundle is missing: install ca-certificates, or name a bundle by CA_BUNDLE"
  rm -rf "$root"
  install -D -s --strip-program="${cross}strip" -m 0755 "$(binary "$1")" "$root/usr/bin/$name"
  ln -s "$name" "$root/usr/bin/connector"
  # Where both OpenSSL's and Rust's TLS look first on Debian.
  install -D -m 0644 "$ca_bundle" "$root/etc/ssl/certs/ca-certificates.crt"
}

stage() {
  compile "$1"
  lay_out "$1"
}

build() {
  stage "$1"
  local labels=(--label "org.opencontainers.image.version=$version")
  [ -z "${IMAGE_SOURCE:-}" ] || labels+=(--label "org.opencontainers.image.source=$IMAGE_SOURCE")
  [ -z "${IMAGE_REVISION:=$(git rev-parse HEAD 2>/dev/null || true)}" ] ||
    labels+=(--label "org.opencontainers.image.revision=$IMAGE_REVISION")
  "$engine" build --quiet --platform "linux/$(platform)" --file Dockerfile --build-arg "connector=$1" \
    --tag "$(image "$1")" "${labels[@]}" "$stage" >/dev/null
  echo "$(image "$1"): $(du -sb --apparent-size "$stage/$1" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
}

save() {
  local file=$stage/$1-$tag-$architecture.tar
  "$engine" save --output "$file" "$(image "$1")"
  echo "$file"
}

verb=${1:-}
case $verb in
  stage | build | save) shift ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 64 ;;
esac
[ "$verb" = save ] || need_glibc
[ "$verb" = stage ] || command -v "$engine" >/dev/null ||
  die "no container engine: $engine is not installed; deploy/images.sh stage makes the images' files without one"
for image in "$@"; do "$verb" "$image"; done
