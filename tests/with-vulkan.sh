#!/bin/sh
# Tests with-vulkan on machines made of stubs: a PATH of a few tools, with a package manager that only says it was
# called and then makes ldconfig list the libraries.
set -eu
script=$(cd "$(dirname "$0")/.." && pwd)/with-vulkan
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0

# machine SYSTEM USER_ID [TOOL...]: a new one, without a Vulkan driver, with these tools as stubs.
machine() {
    rm -rf "${tmp:?}/bin" "$tmp/installed" && mkdir "$tmp/bin"
    for tool in sh sed head dirname; do ln -s "$(command -v $tool)" "$tmp/bin/"; done
    stub echo 'printf "%s\\n" "$*"'
    stub uname "echo $1"
    stub id "echo $2"
    stub ldconfig "[ ! -e $tmp/installed ] || echo '/lib/libvulkan.so.1 /lib/libvulkan_stub.so'"
    shift 2
    for tool; do stub "$tool" "echo $tool \"\$@\"; : > $tmp/installed"; done
}

stub() {
    printf '#!/bin/sh\n%s\n' "$2" > "$tmp/bin/$1"
    chmod +x "$tmp/bin/$1"
}

# expect STATUS STDOUT WORDS_IN_STDERR ARGUMENT...: runs the script on the machine.
expect() {
    status=$1 stdout=$2 stderr=$3
    shift 3
    code=0
    out=$(env -i PATH="$tmp/bin" VK_DRIVER_FILES="$tmp/stub.json" ${runtime+XDG_RUNTIME_DIR="$runtime"} /bin/sh "$script" "$@" 2>"$tmp/stderr") || code=$?
    case $code:$out:$(cat "$tmp/stderr") in
        "$status:$stdout:"*"$stderr"*) echo "ok: $status $stderr" ;;
        *) failures=$((failures + 1)); echo "FAILED: wanted $status '$stdout' '$stderr', got $code '$out'"; cat "$tmp/stderr" ;;
    esac
}

echo '{"ICD": {"library_path": "libvulkan_stub.so"}}' > "$tmp/stub.json"
machine Linux 0;                        expect 64 "" "usage: with-vulkan"
machine Darwin 501;                     expect 0 "a  b" "" echo "a  b"
machine MINGW64_NT-10.0 501;            expect 7 "" "" sh -c "exit 7"
machine Linux 501; : > "$tmp/installed"; expect 0 hi "" echo hi
machine Linux 501; : > "$tmp/installed"; expect 0 /run/user/501 "" sh -c 'echo "$XDG_RUNTIME_DIR"'
# A window system's folder that is set stays, one that is set to nothing does not: libraries complain of it as well.
runtime=/run/own
machine Linux 501; : > "$tmp/installed"; expect 0 /run/own "" sh -c 'echo "$XDG_RUNTIME_DIR"'
runtime=
machine Linux 501; : > "$tmp/installed"; expect 0 /run/user/501 "" sh -c 'echo "$XDG_RUNTIME_DIR"'
unset runtime
machine Linux 0;                        expect 69 "" "neither apt-get, dnf nor pacman" echo hi
machine Linux 501 apt-get;              expect 69 "" "sudo sh -c 'apt-get update && " echo hi
machine Linux 501 dnf;                  expect 69 "" "sudo sh -c 'dnf install -y mesa-vulkan-drivers vulkan-loader'" echo hi
machine Linux 501 pacman;               expect 69 "" "--needed vulkan-swrast vulkan-icd-loader'" echo hi
machine Linux 0 apt-get;                expect 0 hi "apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1" echo hi
machine Linux 0 dnf;                    expect 0 hi "dnf install -y mesa-vulkan-drivers vulkan-loader" echo hi
machine Linux 0 pacman;                 expect 0 hi "pacman -Sy --noconfirm --needed vulkan-swrast" echo hi
machine Linux 501 dnf; stub sudo "shift; exec \"\$@\"; "; stub true ":"; expect 0 hi "sudo -n sh -c 'dnf" echo hi
machine Linux 0 dnf; stub dnf "exit 1"; expect 69 "" "the installation failed" echo hi
machine Linux 0 dnf; stub dnf ":";      expect 69 "" "still no Vulkan driver" echo hi
rm "$tmp/stub.json"
machine Linux 0 dnf;                    expect 69 "" "VK_DRIVER_FILES is" echo hi
exit "$failures"
