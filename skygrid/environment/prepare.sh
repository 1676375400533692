# Prepares the environment and the code of one kit on this host:
#
#     sh prepare.sh ROOT ENVIRONMENT_KEY CODE_KEY [repair]
#
# With "repair" the worker did not start although everything was ready.
#
# POSIX sh. The other files of the kit lie beside this script. Each folder is made under a temporary
# name and renamed when complete, so an interrupted run leaves nothing that looks ready, and the
# first of two concurrent runs wins. Progress goes to stderr. On failure the last line begins with
# "skygrid: " and names the next step.
set -eu
umask 077
exec 1>&2

root=$1
environment_key=$2
code_key=$3
repair=${4:-}
kit=$(cd "${0%/*}" && pwd)
place=$root/envs/$environment_key-$(uname -s)-$(uname -m)
code=$root/code/$code_key

# Age in days at which unused environments and leftovers of interrupted runs are removed.
unused_days=30
left_days=1

# The caller's Python variables must not influence the environment.
unset VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH UV_PYTHON UV_PROJECT_ENVIRONMENT
# The cache lies under ROOT by default, because uv can hard-link files only within one file system.
# uv copies where links fail.
: "${UV_CACHE_DIR:=$root/uv-cache}"
: "${UV_LINK_MODE:=hardlink}"
# uv has certificates of its own; behind a proxy that intercepts TLS only the host's are right.
for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -e "$store" ]; then
        : "${UV_SYSTEM_CERTS:=true}" "${UV_NATIVE_TLS:=true}"
        export UV_SYSTEM_CERTS UV_NATIVE_TLS
        break
    fi
done
UV_PYTHON_INSTALL_BIN=0
UV_NO_PROGRESS=1
export UV_CACHE_DIR UV_LINK_MODE UV_PYTHON_INSTALL_BIN UV_NO_PROGRESS

say() { printf '%s\n' "$*"; }

fail() {
    say "skygrid: $*"
    exit 1
}

# ---- the disk ------------------------------------------------------------------------------------

# Fixes the language of messages that are matched below; setup commands keep the user's language.
in_english() {
    LC_ALL=C
    export LC_ALL
}

is_disk_full() {
    case $1 in
    *"No space left on device"* | *"no space left on device"* | *"os error 28"*) return 0 ;;
    *"Disk quota exceeded"* | *"os error 122"*) return 0 ;;
    *) return 1 ;;
    esac
}

fail_disk_full() {
    free=$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }') || free=
    fail "disk full: no room under $root on this host (${free:-unknown} KiB free);" \
        "free some space there or use a root on another disk"
}

# Runs a command and reports a full disk as such. $1: the action, for the message; the rest: the
# command. The output is shown only on failure.
must() {
    doing=$1
    shift
    if output=$(in_english; "$@" 2>&1); then return 0; fi
    say "$output"
    if is_disk_full "$output"; then fail_disk_full; fi
    fail "cannot $doing on this host: $(last_line "$output")"
}

last_line() { printf '%s\n' "$1" | sed '/^[[:space:]]*$/d' | tail -n 1; }

# Makes a folder that is under construction or about to be removed. Names with a leading dot are
# never taken for environments.
new_folder() {
    if ! made=$(in_english; mkdir -p "$1" 2>&1 && mktemp -d "$1/.making-XXXXXX" 2>&1); then
        say "$made"
        if is_disk_full "$made"; then fail_disk_full; fi
        fail "cannot make a folder in $1 on this host; use a root that this user may write to"
    fi
}

making_place=
making_code=
making_tools=
clean() {
    for folder in "$making_place" "$making_code" "$making_tools"; do
        if [ -n "$folder" ]; then rm -rf "$folder"; fi
    done
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

remove_left() {
    for folder in "$root/envs" "$root/code" "$root/tools" "$root/incoming"; do
        [ -d "$folder" ] || continue
        find "$folder" -mindepth 1 -maxdepth 1 \( -name '.making-*' -o -name 'kit-*' \) \
            -mtime "+$((left_days - 1))" -exec rm -rf {} + 2>/dev/null || :
    done
}

remove_unused() {
    for folder in "$root"/envs/* "$root"/code/*; do
        [ "$folder" != "$place" ] && [ "$folder" != "$code" ] && [ -e "$folder/ready" ] || continue
        if [ -n "$(find "$folder/ready" -mtime "+$((unused_days - 1))" 2>/dev/null)" ]; then
            say "removing ${folder##*/}, unused for $unused_days days"
            put_aside "$folder" || :
        fi
    done
}

# Renames before removal, into a new folder ($made changes): a half-removed folder must not look
# ready.
put_aside() {
    new_folder "${1%/*}"
    mv "$1" "$made/" 2>/dev/null || :
    rm -rf "$made"
}

# os.rename fails if the target is a non-empty folder; mv would move into it.
rename_into_place() {
    "$place_python" -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$1" "$2" 2>/dev/null
}

# ---- uv ------------------------------------------------------------------------------------------

works() { "$1" venv --help 2>/dev/null </dev/null | grep -e --relocatable >/dev/null; }

find_uv() {
    for uv in "${SKYGRID_UV:-}" "$(command -v uv || :)" "$HOME/.local/bin/uv" \
        "$HOME/.cargo/bin/uv" "$root/tools/bin/uv"; do
        if [ -n "$uv" ] && works "$uv"; then return 0; fi
    done
    return 1
}

get_uv() {
    if find_uv; then return 0; fi
    say "getting uv"
    new_folder "$root/tools"
    making_tools=$made
    got=$made/got
    tried=
    for way in uv_by_venv uv_by_target uv_by_python; do
        rm -rf "$got"
        if output=$($way "$got" 2>&1) && works "$got/bin/uv"; then
            mkdir -p "$root/tools/bin"
            cp "$got/bin/uv" "$made/uv"
            mv -f "$made/uv" "$root/tools/bin/uv"
            rm -rf "$made"
            making_tools=
            uv=$root/tools/bin/uv
            return 0
        fi
        tried=$tried$output
        say "$output"
    done
    if is_disk_full "$tried"; then fail_disk_full; fi
    fail "this host has no uv that skygrid can use and none could be installed;" \
        "install it there (https://docs.astral.sh/uv) and put it on the PATH, or install python3" \
        "and let this host reach a package index that has $(sed -n 's/^\(uv==[^ ]*\).*/\1/p' "$kit/uv.txt")"
}

pip_quietly() {
    python=$1
    shift
    # An index may have a password, and every user can read command lines.
    if [ -n "$SKYGRID_INDEX_URL" ]; then
        PIP_INDEX_URL=$SKYGRID_INDEX_URL
        export PIP_INDEX_URL
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

# pip takes one version, with one of the hashes in uv.txt, and builds nothing from source.
uv_by_venv() {
    python3 -m venv "$1" &&
        pip_quietly "$1/bin/python" --only-binary :all: --require-hashes -r "$kit/uv.txt"
}

uv_by_target() {
    pip_quietly python3 --target "$1" --only-binary :all: --require-hashes -r "$kit/uv.txt"
}

# For hosts whose Python has neither venv nor pip.
uv_by_python() {
    index=${SKYGRID_INDEX_URL:-${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-}}}}
    SKYGRID_FETCH_FROM=${index:-https://pypi.org/simple} python3 "$kit/fetch_uv.py" "$kit/uv.txt" "$1"
}

# ---- Python --------------------------------------------------------------------------------------

# --system ignores virtual environments around this shell and in the working directory.
find_python() {
    python=$(
        if [ $# -gt 0 ]; then
            UV_PYTHON_INSTALL_DIR=$1
            export UV_PYTHON_INSTALL_DIR
        fi
        "$uv" python find --system --no-project --no-python-downloads "$SKYGRID_PYTHON" \
            2>/dev/null </dev/null
    )
}

# Searches the PATH itself: uv stops at a Python that does not run, and pyenv puts such a shim on
# the PATH for every version that is installed but not selected.
find_python_behind() {
    found=$(
        IFS=:
        for folder in $PATH; do
            if "$folder/python$SKYGRID_PYTHON" -c '' 2>/dev/null </dev/null; then
                say "$folder/python$SKYGRID_PYTHON"
                break
            fi
        done
    )
    [ -n "$found" ] && python=$found
}

# Downloaded Pythons lie under ROOT, so that removing ROOT removes them.
fetch_python() {
    say "downloading Python $SKYGRID_PYTHON"
    output=$(UV_PYTHON_INSTALL_DIR=$root/tools/python "$uv" python install "$SKYGRID_PYTHON" \
        2>&1 </dev/null)
}

get_python() {
    case $SKYGRID_PYTHON in
    /*)
        python=$SKYGRID_PYTHON
        [ -x "$python" ] || fail "there is no Python at $python on this host;" \
            "correct python under [environment]"
        return 0
        ;;
    esac
    # Prefer the user's Pythons to those downloaded earlier.
    if find_python || find_python_behind || find_python "$root/tools/python"; then return 0; fi
    if fetch_python && find_python "$root/tools/python"; then return 0; fi
    say "$output"
    if is_disk_full "$output"; then fail_disk_full; fi
    fail "no Python $SKYGRID_PYTHON on this host ($(python_at_hand)) and none could be downloaded;" \
        "install it or set python under [environment]"
}

python_at_hand() {
    python3 -c 'import sys; print("its python3 is %d.%d.%d" % sys.version_info[:3])' 2>/dev/null ||
        say "it has no python3"
}

check_minor() {
    minor=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        fail "$python does not run on this host; correct python under [environment]"
    [ "$minor" = "$SKYGRID_MINOR" ] ||
        fail "$python is Python $minor and the driver runs $SKYGRID_MINOR;" \
            "set python under [environment] to a Python $SKYGRID_MINOR of this host"
}

# ---- packages ------------------------------------------------------------------------------------

# Prints the index of this host's pip configuration, unless uv has one: uv does not read pip's.
index_of_pip() {
    if [ -n "${UV_INDEX_URL:-}${UV_DEFAULT_INDEX:-}" ]; then return 0; fi
    for file in "${XDG_CONFIG_HOME:-$HOME/.config}/uv/uv.toml" /etc/uv/uv.toml; do
        if [ -e "$file" ]; then return 0; fi
    done
    python3 -m pip --disable-pip-version-check config list 2>/dev/null </dev/null |
        sed -n "s/^[^=]*[.]index-url='\(.*\)'\$/\1/p" | head -n 1
}

install_packages() {
    set -- "$@" --no-python-downloads
    index=$SKYGRID_INDEX_URL
    if [ -z "$index" ]; then index=$(index_of_pip); fi
    # Not as options: an index may have a password, and every user can read command lines.
    if [ -n "$index" ]; then
        unset UV_DEFAULT_INDEX
        UV_INDEX_URL=$index
        export UV_INDEX_URL
    fi
    if [ -s "$kit/extra-index-urls.txt" ]; then
        # A package comes from the extra indexes if they have a suitable version. With "best-match", a
        # newer one under its name on the public index would be preferred.
        set -- "$@" --index-strategy unsafe-first-match
        UV_EXTRA_INDEX_URL=$(awk '{ printf "%s%s", blank, $0; blank = " " }' "$kit/extra-index-urls.txt")
        export UV_EXTRA_INDEX_URL
    fi
    "$uv" pip install --python "$place_python" "$@" </dev/null
}

# Arguments: those of `uv pip install`.
install() {
    if output=$(cd "$kit" && install_packages "$@" 2>&1); then return 0; fi
    say "$output"
    if is_disk_full "$output"; then fail_disk_full; fi
    # uv wraps lines and may draw a frame; remove both.
    flat=$(printf '%s' "$output" | LC_ALL=C tr -s '\n\200-\377 ' ' ')
    case $flat in
    *"Because "*)
        why=${flat#*Because }
        why=${why%%, we can conclude*}
        why=${why%% hint: *}
        ;;
    *)
        # Keep the whole error, because its causes are lines of their own, but cut long build logs.
        why=$(printf '%.300s' "${flat#*error: }")
        ;;
    esac
    fail "cannot install the packages on this host: $why; $(advice "$flat")"
}

advice() {
    case $1 in
    *"error sending request"* | *"dns error"* | *"ailed to fetch"* | *"onnection"* | *"imed out"*)
        say "let this host reach the package index, or name one that it reaches as index_url" \
            "under [environment]"
        ;;
    *"wheels with a matching"* | *"ncompatible"* | *"not compatible"* | *"not supported"*)
        say "$(uname -s) $(uname -m), $(libc), Python $SKYGRID_MINOR: choose a version that has" \
            "a wheel for it, under packages of [environment]"
        ;;
    *"ailed to build"* | *"build backend"*)
        say "install what its build needs on this host, or choose a version that has a wheel"
        ;;
    *)
        say "check name and version, under packages of [environment], or name the index that has" \
            "it as index_url"
        ;;
    esac
}

libc() { getconf GNU_LIBC_VERSION 2>/dev/null || say "no glibc"; }

# ---- all of it -----------------------------------------------------------------------------------

run_setup() {
    # Setup commands can call uv, because the environment has no pip.
    PATH=$making_place/bin:${uv%/*}:$PATH
    VIRTUAL_ENV=$making_place
    export PATH VIRTUAL_ENV
    for file in "$kit"/setup/*; do
        [ -e "$file" ] || continue
        command=$(head -n 1 "$file")
        say "setup: $command"
        (cd "$HOME" && sh "$file" </dev/null) || {
            status=$?
            if [ "$(df -Pk "$root" | awk 'NR == 2 { print $4 }')" = 0 ]; then fail_disk_full; fi
            fail "the setup command \"$command\" failed on this host with exit status $status;" \
                "see its output above and correct setup under [environment]"
        }
    done
}

is_environment_ready() {
    imports=${repair:+import cloudpickle, msgspec}
    [ -e "$place/ready" ] && "$place/bin/python" -c "$imports" 2>/dev/null
}

# Neither programs nor libraries can be loaded from such a disk.
check_programs_run() {
    mkdir -p "$root/envs" 2>/dev/null || :
    mount=$(df -P "$root/envs" 2>/dev/null | awk 'NR == 2 { print $6 }')
    options=$(awk -v mount="$mount" '$2 == mount { found = $4 } END { print found }' \
        /proc/mounts 2>/dev/null) || options=
    case ,$options, in
    *,noexec,*)
        fail "no program can run under $root on this host: its disk is mounted with noexec;" \
            "set folder under [ssh] to one on another disk"
        ;;
    esac
}

make_environment() {
    check_programs_run
    get_uv
    get_python
    check_minor "$python"
    new_folder "$root/envs"
    making_place=$made
    place_python=$making_place/bin/python
    must "make an environment of $python" "$uv" venv --quiet --relocatable --allow-existing \
        --python "$python" --no-python-downloads --no-project "$making_place"
    check_minor "$place_python"
    if [ -n "$repair" ]; then
        # Files of an environment may be links into the cache, which is then damaged as well.
        UV_NO_CACHE=1
        export UV_NO_CACHE
    fi
    say "installing packages"
    set --
    for wheel in "$kit"/wheels/*.whl; do
        if [ -e "$wheel" ]; then set -- "$@" "$wheel"; fi
    done
    if [ -e "$kit/pylock.toml" ]; then
        install -r pylock.toml
    elif [ -e "$kit/additions.txt" ]; then
        install -r requirements.txt
    else
        install -r requirements.txt "$@"
        set --
    fi
    if [ -e "$kit/additions.txt" ]; then install -r additions.txt "$@"; fi
    run_setup
    must "write to $making_place" touch "$making_place/ready"
    # A folder that exists but is not ready was damaged later, for example by removing its Python.
    if [ -e "$place" ] && ! is_environment_ready; then put_aside "$place"; fi
    if rename_into_place "$making_place" "$place"; then
        making_place=
    elif ! is_environment_ready; then
        fail "cannot rename $making_place to $place on this host"
    fi
}

# Code that did not start is replaced whole, with the bytecode that Python made of it.
is_code_ready() { [ -e "$code/ready" ] && [ -z "$repair" ]; }

make_code() {
    new_folder "$root/code"
    making_code=$made
    must "copy the worker" cp -R "$kit/code/." "$making_code"
    must "write to $making_code" touch "$making_code/ready"
    if [ -e "$code" ] && ! is_code_ready; then put_aside "$code"; fi
    if rename_into_place "$making_code" "$code"; then
        making_code=
    elif [ ! -e "$code/ready" ]; then
        fail "cannot rename $making_code to $code on this host"
    fi
}

. "$kit/environment"
remove_left
if is_environment_ready; then
    touch "$place/ready" 2>/dev/null || :
else
    say "making environment $environment_key"
    make_environment
fi
place_python=$place/bin/python
if ! is_code_ready; then make_code; fi
remove_unused
say "environment $environment_key is ready"
