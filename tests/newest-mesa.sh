#!/bin/sh
# Runs every suite, and that of cooperative matrices, on the newest Mesa: Debian unstable's, in a root folder of its own
# (the argument, else .cache/newest-mesa). Needs root, debootstrap and Debian's mirror; CI does without, since what is
# unstable may be broken on any day.
set -eu
cd "$(dirname "$0")/.."
root=${1:-$PWD/.cache/newest-mesa}
suites=$root/suites

if [ ! -e "$root/complete" ]; then
    mkdir -p "$root"
    debootstrap --variant=minbase --include=mesa-vulkan-drivers,libvulkan1 unstable "$root" http://deb.debian.org/debian
    touch "$root/complete"
fi
rm -rf "$suites"
mkdir -p "$suites" "$root$PWD"
for manifest in Cargo.toml tests/cooperative/Cargo.toml; do
    cargo test --release --no-run --message-format json --manifest-path "$manifest" >"$suites/built"
    grep '"test":true' "$suites/built" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | xargs -I{} cp {} "$suites"
    rm "$suites/built"
done
# This one is about arguments, not drivers, and wants the examples beside it.
rm "$suites"/examples-*

mount --bind "$PWD" "$root$PWD"
trap 'umount "$root$PWD"' EXIT
chroot "$root" dpkg-query --show mesa-vulkan-drivers
for suite in "$suites"/*; do
    echo "== ${suite##*/}"
    chroot "$root" sh -c 'cd "$1" && exec "$2"' - "$PWD" "/suites/${suite##*/}"
done
