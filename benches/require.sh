#!/usr/bin/env bash
# Says what is missing, and how to get it, before anything fails half way.
# usage: require.sh [cargo] [python] [venv] [uring] [valgrind]
set -euo pipefail

missing=0
lacks() {
    printf 'missing: %s\n' "$1" >&2
    missing=1
}

require_cargo() {
    command -v cargo >/dev/null ||
        lacks "cargo, 1.90 or newer (https://rustup.rs)"
    command -v cc >/dev/null ||
        lacks "a C compiler for the linker and mimalloc (Debian: apt-get install build-essential)"
}

require_python() {
    command -v python3 >/dev/null ||
        lacks "python3 (Debian: apt-get install python3 python3-venv)"
}

require_venv() {
    require_python
    if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        lacks "python3's venv (Debian: apt-get install python3-venv)"
    fi
}

require_valgrind() {
    command -v valgrind >/dev/null ||
        lacks "valgrind, which counts instructions (Debian: apt-get install valgrind)"
}

# The broker says the same when it starts; here it is said before a long build.
require_uring() {
    local major minor
    IFS=. read -r major minor _ < <(uname -r)
    minor=${minor%%[!0-9]*}
    if ((major < 6 || (major == 6 && minor < 1))); then
        lacks "Linux 6.1 or newer for io_uring (this is $(uname -r))"
    fi
    local switch=/proc/sys/kernel/io_uring_disabled
    if [[ -r $switch && $(<"$switch") != 0 && $EUID != 0 ]]; then
        lacks "io_uring: it is switched off (sysctl kernel.io_uring_disabled=0)"
    fi
    # 425 is io_uring_setup: without arguments it fails either way, but not with ENOSYS (no such
    # call) or EPERM (a container's filter forbids it).
    if command -v python3 >/dev/null && ! python3 - <<'PYTHON'; then
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 0, None)
sys.exit(ctypes.get_errno() in (errno.ENOSYS, errno.EPERM))
PYTHON
        lacks "io_uring: this kernel or container forbids it (Docker: --security-opt seccomp=unconfined)"
    fi
}

for what in "$@"; do
    "require_$what"
done
exit "$missing"
