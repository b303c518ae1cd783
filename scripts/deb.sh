#!/usr/bin/env bash
# Builds the Debian package with cargo-deb and judges it with lintian: target/debian/octroi_VERSION_ARCH.deb
#
#   deb.sh                  release profile: minutes
#   PROFILE=dev deb.sh      unoptimised: to try the package out
#
# The program makes its own manual page and completions, so it must run here.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-target}
scripts/setup.sh cmake=cmake cc=gcc dpkg-shlibdeps=dpkg-dev lintian=lintian
command -v cargo-deb >/dev/null || cargo install --locked cargo-deb

cargo build --locked --profile "$profile" --bin octroi
program=$target/$(if [ "$profile" = dev ]; then echo debug; else echo "$profile"; fi)/octroi
made=target/deb-assets
rm -rf "$made"
mkdir -p "$made"
strip --strip-unneeded -o "$made/octroi" "$program"
# A page for octroi, one for each command, and one for each group of commands.
"$program" man >"$made/octroi.1"
{ sed -n 's/^### octroi //p' docs/reference/commands.md; printf '%s\n' session keys ban; } | while read -r command; do
    # Words of a command are words here, too.
    # shellcheck disable=SC2086
    "$program" man $command >"$made/octroi-${command// /-}.1"
done
"$program" completion bash >"$made/octroi.bash"
"$program" completion zsh >"$made/_octroi"
"$program" completion fish >"$made/octroi.fish"
scripts/third-party.sh >"$made/third-party"
gzip -9n "$made"/*.1 "$made/third-party"
gzip -9nc CHANGELOG.md >"$made/changelog.gz"

pack=(--no-build --no-strip)
[ "$profile" != dev ] || pack+=(--fast)
cargo deb --locked "${pack[@]}" --output target/debian/
package=$(ls -t target/debian/octroi_*.deb | head -1)
# Root builds it here as elsewhere; that says nothing about the package.
lintian --allow-root --fail-on error,warning --info "$package"
echo "package: $package, lintian has nothing to say"
