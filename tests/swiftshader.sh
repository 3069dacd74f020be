#!/bin/sh
# Prints where the manifest of SwiftShader lies, a software Vulkan driver that shares nothing with Mesa's, so that
# `VK_DRIVER_FILES=$(tests/swiftshader.sh) ./with-vulkan cargo test` runs the suites on it. Debian's package
# chromium-common holds it: taken where it is installed, else unpacked into .cache/swiftshader, for which nobody need be root.
set -eu
cd "$(dirname "$0")/.."
for folder in /usr/lib/chromium "$PWD/.cache/swiftshader/usr/lib/chromium"; do
    manifest=$folder/vk_swiftshader_icd.json
    if [ -e "$manifest" ] && [ -e "$folder/libvk_swiftshader.so" ]; then
        echo "$manifest"
        exit
    fi
done
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "swiftshader.sh: no SwiftShader here, and neither apt-get nor dpkg-deb to get Debian's chromium-common with" >&2
    exit 69
fi
echo "swiftshader.sh: unpacking chromium-common into .cache/swiftshader" >&2
rm -rf .cache/swiftshader && mkdir -p .cache/swiftshader
cd .cache/swiftshader
# A new machine knows no packages yet; asking takes root.
apt-get download chromium-common >&2 || { apt-get update >&2 && apt-get download chromium-common >&2; }
dpkg-deb -x chromium-common_*.deb . && rm chromium-common_*.deb
echo "$PWD/usr/lib/chromium/vk_swiftshader_icd.json"
