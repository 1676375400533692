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
there=$root
while [ ! -d "$there" ] && [ "$there" != / ]; do there=$(dirname "$there"); done
echo "free_kib=$(df -Pk "$there" 2>/dev/null | awk "NR == 2 { print \$4 }")"
memory=$(awk "/^MemTotal:/ { print \$2 }" /proc/meminfo 2>/dev/null)
if [ -z "$memory" ]; then memory=$(($(sysctl -n hw.memsize 2>/dev/null || echo 0) / 1024)); fi
echo "memory_kib=$memory"
if [ -w "$there" ] && [ -x "$there" ]; then echo "writable=yes"; else echo "writable=no"; fi
mount=$(df -P "$there" 2>/dev/null | awk "NR == 2 { print \$6 }")
case ,$(awk -v mount="$mount" "\$2 == mount { found = \$4 } END { print found }" /proc/mounts 2>/dev/null), in
*,noexec,*) echo "executable=no" ;;
esac
echo "skygrid-probe-end"
