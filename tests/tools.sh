#!/bin/sh
# Looks whether this machine has what building and testing need. As root, or with INSTALL=1 through sudo, it installs
# what is missing with apt-get; else it prints the command, and fails. With dist-x86_64 or
# dist-aarch64 it looks for what `make` needs for that alone.
set -u

scope=${1-all}
packages=
# need PACKAGES WHAT COMMAND…: the Debian packages that are missing where the command fails
need() {
    missing=$1 what=$2
    shift 2
    if "$@" >/dev/null 2>&1; then return; fi
    echo "    missing: $what"
    packages="$packages $missing"
}

# The other of the two architectures that files are released for, as Debian's packages and as its programs call it.
case $(uname -m) in
    aarch64) other=x86-64 other_debian=amd64 other_program=x86_64 ;;
    *) other=aarch64 other_debian=arm64 other_program=aarch64 ;;
esac

links() {
    echo 'int main(void) { return 0; }' | cc -x c -o /dev/null -
}

[ -z "${JAVA_HOME-}" ] || PATH=$JAVA_HOME/bin:$PATH
has_jdk() {
    command -v jar && jlink --version || return
    version=$(javac -version 2>&1)
    version=${version#javac }
    [ "${version%%[!0-9]*}" -ge 17 ]
}

has_node() {
    version=$(node --version)
    version=${version#v}
    [ "${version%%.*}" -ge 18 ]
}

has_browser() {
    chromedriver --version && { chromium --version || google-chrome --version; }
}

links_for_other() {
    echo 'int main(void) { return 0; }' | $other_program-linux-gnu-gcc -x c -static -o /dev/null -
}

look_dist() {
    need 'gcc libc6-dev' 'a C compiler, with which Rust links' links
    [ "$scope" = "dist-$(uname -m)" ] ||
        need "gcc-$other-linux-gnu libc6-dev-$other_debian-cross" "a C compiler for $other_program" links_for_other
    need python3 'Python 3' python3 --version
}

look() {
    packages=
    look_dist
    [ "$scope" = all ] || return 0
    need g++ 'a C++ compiler, for libFuzzer' c++ --version
    need 'python3 python3-venv' 'Python 3 with venv' python3 -c 'import ensurepip, venv'
    need default-jdk-headless 'a JDK, 17 or later, with jlink (JAVA_HOME, else PATH)' has_jdk
    need binutils 'strip, of the binutils' strip --version
    need zip zip zip -v
    need unzip unzip unzip -v
    need curl curl curl --version
    need jq jq jq --version
    need 'zip unzip' 'zip and unzip' sh -c 'zip -v && unzip -v'
    need util-linux 'unshare and setpriv of util-linux' sh -c 'unshare --version && setpriv --version'
    need bash bash bash --version
    need nodejs 'Node.js, 18 or later' has_node
    need 'chromium chromium-driver' 'Chromium, or Chrome, with its ChromeDriver' has_browser
    need valgrind "valgrind's callgrind" valgrind --tool=callgrind --version
    need shellcheck shellcheck shellcheck --version
    need 'buildah mmdebstrap' 'buildah and mmdebstrap, which make images' sh -c 'buildah --version && mmdebstrap --version'
    need iproute2 'ip of iproute2' ip -V
    need qemu-user-static "QEMU, which runs a program for $other_program" qemu-$other_program-static --version
}

rust='cargo --version'
for tool in "$rust" 'cargo fmt --version' 'cargo clippy --version'; do
    [ "$scope" = all ] || [ "$tool" = "$rust" ] || continue
    if ! $tool >/dev/null; then
        echo "    missing: $tool; Rust, with rustfmt and clippy, comes from https://rustup.rs"
        exit 1
    fi
done

look
[ -n "$packages" ] || exit 0
install="apt-get install -y --no-install-recommends$packages"
if ! command -v apt-get >/dev/null; then
    echo "    this is no Debian: install what is missing (there it would be:$packages)"
    exit 1
elif [ "$(id -u)" = 0 ]; then
    as_root='env'
elif [ "${INSTALL-}" = 1 ]; then
    command -v sudo >/dev/null || { echo "    INSTALL=1 needs sudo, which is missing"; exit 1; }
    as_root='sudo env'
else
    echo "    install it with"
    echo "        sudo apt-get update && sudo $install"
    echo "    or have this done with"
    echo "        make INSTALL=1 test"
    exit 1
fi

echo "    installing:$packages"
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || echo "    apt-get update failed; trying with the lists that are here"
# shellcheck disable=SC2086 # words
$as_root DEBIAN_FRONTEND=noninteractive $install -qq >&2 || exit
look
[ -z "$packages" ] || {
    echo "    still missing after the installation; see above"
    exit 1
}
