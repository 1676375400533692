# Prints facts about a host between two markers: sh -c PROBE skygrid ROOT. The markers separate them
# from the output of a login shell.
case $1 in
/*) root=$1 ;;
"~") root=$HOME ;;
"~/"*) root=$HOME/${1#??} ;;
*) root=$HOME/$1 ;;
esac
echo "skygrid-probe-begin"
echo "root=$root"
echo "system=$(uname -s)"
echo "machine=$(uname -m)"
echo "libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)"
for name in python3 python3.11 python3.12 python3.13 python3.14 python3.15; do
    path=$(command -v "$name") || continue
    version=$("$path" -c "import platform; print(platform.python_version())" 2>/dev/null) || continue
    echo "python=$version $path"
done
own_uv=$root/tools/bin/uv
if [ -d "$root" ]; then
    found=$(cd "$root" && foreign "" "" | head -n 1)
    if [ -n "$found" ]; then
        echo "foreign=$found"
        own_uv=
    fi
fi
for uv in "${SKYGRID_UV:-}" "$(command -v uv)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" "$own_uv"; do
    if [ -n "$uv" ] && version=$("$uv" --version 2>/dev/null); then
        echo "uv=$version $uv"
        break
    fi
done
# fetch_uv.py needs this Python and nothing else.
if python3 -c "import sys; sys.exit(sys.version_info < (3, 7))" 2>/dev/null; then
    echo "gets_uv=yes"
fi
there=$root
while [ ! -d "$there" ] && [ "$there" != / ]; do there=$(dirname "$there"); done
echo "free_kib=$(df -Pk "$there" 2>/dev/null | awk "NR == 2 { print \$4 }")"
memory=$(awk "/^MemTotal:/ { print \$2 }" /proc/meminfo 2>/dev/null)
if [ -z "$memory" ]; then memory=$(($(sysctl -n hw.memsize 2>/dev/null || echo 0) / 1024)); fi
echo "memory_kib=$memory"
# Limits of the control groups around this login: cgroups(7); memory.max of version 2,
# memory.limit_in_bytes of version 1. Without a limit the file has a word, or more than the memory.
limits_above() {
    group=${2%/}
    case $group in
    */..*) group= ;;
    esac
    while :; do
        cat "$1$group/$3" 2>/dev/null
        [ -n "$group" ] || break
        group=${group%/*}
    done
}
version_1=$(sed -n "s/^[0-9]*:\([^:]*,\)*memory\(,[^:]*\)*://p" /proc/self/cgroup 2>/dev/null)
version_2=$(sed -n "s/^0:://p" /proc/self/cgroup 2>/dev/null)
limit=$({
    limits_above /sys/fs/cgroup/memory "$version_1" memory.limit_in_bytes
    limits_above /sys/fs/cgroup "$version_2" memory.max
} | awk "/^[0-9]+\$/ && (least == \"\" || \$1 < least) { least = \$1 } END { printf \"%d\", least / 1024 }")
echo "memory_limit_kib=$limit"
if [ -w "$there" ] && [ -x "$there" ]; then echo "writable=yes"; else echo "writable=no"; fi
mount=$(df -P "$there" 2>/dev/null | awk "NR == 2 { print \$6 }")
case ,$(awk -v mount="$mount" "\$2 == mount { found = \$4 } END { print found }" /proc/mounts 2>/dev/null), in
*,noexec,*) echo "executable=no" ;;
esac
echo "skygrid-probe-end"
