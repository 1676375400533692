# Prints each folder and program in the working directory, which is ROOT, that another user owns or
# can change. $1 and $2: the folders of environment and code, which others may not even enter, so
# that the kernel protects all that lies below. prepare.sh makes them so.
foreign() {
    closed=$(there "$1" "$2")
    user=$(id -u)
    # No name has a blank.
    find -H $(there . incoming envs code tools tools/bin tools/bin/uv tools/python uv-cache agents blobs) \
        -prune "(" ! -user "$user" ! -user 0 -o -perm -020 -o -perm -002 ")" -print
    if [ -n "$closed" ]; then
        find -H $closed -prune "(" ! -user "$user" ! -user 0 -o -perm -020 -o -perm -002 -o -perm -010 -o -perm -001 ")" -print
    fi
}
there() {
    for each in "$@"; do
        if [ -e "$each" ]; then echo "$each"; fi
    done
}
