# Unpacks the kit from stdin and prepares the host: sh -c UNPACK skygrid ROOT ENVIRONMENT_KEY
# CODE_KEY [repair]
umask 077
case $1 in
/*) root=$1 ;;
"~") root=$HOME ;;
"~/"*) root=$HOME/${1#??} ;;
*) root=$HOME/$1 ;;
esac
if mkdir -p "$root/incoming" && cd "$root" && root=$(pwd); then
    found=$(foreign "envs/$2-$(uname -s)-$(uname -m)" "code/$3" | head -n 1)
    if [ -n "$found" ]; then
        if [ "$found" = . ]; then found=$root; else found=$root/$found; fi
        echo "skygrid: $found on this host belongs to another user or can be changed by one, who could put programs there: make it yours alone (chmod go-rwx), or set folder in the config to one that is" >&2
        exit 1
    fi
fi
if ! mkdir -p "$root/incoming" || ! kit=$(mktemp -d "$root/incoming/kit-XXXXXX"); then
    echo "skygrid: cannot write to $root on this host: choose a root that this user may write to, on a disk with room" >&2
    exit 1
fi
trap "rm -rf \"\$kit\"" EXIT
trap "exit 129" HUP
trap "exit 130" INT
trap "exit 143" TERM
if ! tar -xzf - -C "$kit"; then
    free=$(df -Pk "$root" | awk "NR == 2 { print \$4 }")
    if [ "${free:-9999}" -lt 1024 ]; then
        echo "skygrid: disk full: no room under $root on this host ($free KiB free); free some space there or use a root on another disk" >&2
    else
        echo "skygrid: the kit could not be unpacked under $root on this host ($free KiB free): the connection broke, or its tar is not usable" >&2
    fi
    exit 1
fi
sh "$kit/prepare.sh" "$root" "$2" "$3" ${4:+"$4"} </dev/null
