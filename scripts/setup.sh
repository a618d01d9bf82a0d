#!/usr/bin/env bash
# Installs what the project needs: Debian packages that are missing, and .venv from requirements.lock.
# Doing it again costs half a second.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  python3 python3-venv python3-dev gcc libc6-dev pkg-config     # the environment; dev files build ovirt-engine-sdk-python
  libxml2-dev libcurl4-openssl-dev libssl-dev
  guestfs-tools libguestfs-tools libguestfs-xfs linux-image-cloud-amd64   # virt-sysprep, guestfish, the kernel of their appliance
  qemu-system-x86 qemu-utils ovmf                               # ovmf: firmware for guests that boot with UEFI
  mmdebstrap                                                    # builds the demo and test guests
  e2fsprogs xfsprogs btrfs-progs dosfstools mtools fdisk mount util-linux   # tests make file systems, and check them after erasing
  lvm2 mdadm cryptsetup-bin                                     # go into the appliance, which puts guests' disks together with them
  cpio                                                          # tests unpack the appliance with it
  procps                                                        # tests look at what processes are left
  systemd                                                       # systemd-analyze, with which tests check units
  chromium                                                      # tests look at the web UI with it
)

say() { printf 'setup: %s\n' "$*" >&2; }

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
else
  say "this is not Debian, so nothing was installed. Install what these Debian packages hold, then run"
  say "'make environment': ${packages[*]}"
  exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "run as root, or install sudo: apt-get is needed"; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

exec scripts/environment.sh
