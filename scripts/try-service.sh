#!/usr/bin/env bash
# Tries the Debian package under a real systemd: in a container that systemd-nspawn boots, with a network of its own.
#
#   try-service.sh                      builds the package with scripts/deb.sh, unoptimised, and a later revision of it
#   PACKAGES="OLD.deb NEW.deb"          these instead: NEW follows OLD
#   SUITE=trixie                        another Debian inside
#
# It runs as root. What it looks at stands in try-service-inside.sh. Exit: 0 all is well, 1 something is not, or nothing could be tried.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${SUITE:-bookworm}
work=$(realpath -m "${WORK:-${CARGO_TARGET_DIR:-target}/service}")

[ "$(id -u)" -eq 0 ] || { echo "error: try-service.sh needs root: debootstrap and systemd-nspawn do" >&2; exit 1; }
scripts/setup.sh debootstrap=debootstrap systemd-nspawn=systemd-container objcopy=binutils

if [ -n "${PACKAGES:-}" ]; then
    read -r old new <<<"$PACKAGES"
else
    PROFILE=dev scripts/deb.sh
    old=$(ls -t target/debian/octroi_*.deb | head -1)
    # The same again as a later revision, with a program that differs by a mark.
    new=$work/later.deb
    later=$work/later
    rm -rf "$later"
    mkdir -p "$work"
    dpkg-deb -R "$old" "$later"
    sed -i 's/^Version: .*/&+later/' "$later/DEBIAN/control"
    rm -f "$later/DEBIAN/md5sums"
    objcopy --add-section .later="$later/DEBIAN/control" "$later/usr/bin/octroi"
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$later" "$new" >/dev/null
    rm -rf "$later"
fi

base=$work/$suite
if [ ! -e "$base/etc/debian_version" ]; then
    rm -rf "$base.part"
    mkdir -p "$work"
    tools=systemd,systemd-sysv,dbus,init-system-helpers,procps,ca-certificates,curl,openssl,python3
    debootstrap --variant=minbase --include=$tools "$suite" "$base.part" >"$work/debootstrap.log"
    rm -rf "$base.part"/var/cache/apt/archives/*.deb "$base.part"/var/lib/apt/lists/*
    mv "$base.part" "$base"
fi

# A fresh copy each time: what is tried leaves its marks.
root=$work/root-$$
trap 'rm -rf "$root"' EXIT
cp -a --reflink=auto "$base" "$root"
mkdir "$root/try"
cp "$old" "$root/try/old.deb"
cp "$new" "$root/try/new.deb"
cp scripts/try-service-inside.sh "$root/try/inside.sh"
cp deploy/systemd/octroi.socket "$root/try/"
echo try-service >"$root/etc/hostname"
rm -f "$root/etc/machine-id"
cat >"$root/etc/systemd/system/try.service" <<'UNIT'
[Unit]
Description=what try-service.sh looks at
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/bash /try/inside.sh
ExecStopPost=/bin/sh -c 'journalctl --no-pager >/try/journal; systemctl --no-block poweroff'
StandardOutput=append:/try/out
StandardError=append:/try/out
UNIT
# There is no network to wait for but loopback.
ln -s /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../try.service "$root/etc/systemd/system/graphical.target.wants/try.service"
ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"
: >"$root/try/out"

tail -n +1 -f "$root/try/out" &
tail=$!
# No machined and no scope of ours are needed; the unified hierarchy is what newer ones insist on.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=${UNIFIED:-} timeout 900 systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit \
    --private-network --console=pipe </dev/null >"$work/boot.log" 2>&1 || true
sleep 0.2
kill "$tail"
cp "$root/try/journal" "$work/journal.log" 2>/dev/null || true
grep -q '^done' "$root/try/out" || { echo "FAIL  the container did not come to its end: $work/boot.log and journal.log"; exit 1; }
! grep -q '^FAIL' "$root/try/out" || { echo "FAIL  see above; the container's journal is $work/journal.log"; exit 1; }
