# Finds a Python and starts an agent with it: sh -c START skygrid BOOT PYTHONS MINOR SIZE HASH_SEED
# ARGUMENT... PYTHONS has one on each line. Standard input and output become the channel.
boot=$1 pythons=$2 minor=$3
shift 3
tried=
IFS='
'
for each in $pythons; do
    command -v "$each" >/dev/null 2>&1 || continue
    if said=$("$each" -c "$boot" check "$minor" "$1" </dev/null 2>&1); then
        exec "$each" -c "$boot" start "$@"
    fi
    tried="$tried; $each: $(printf %s "$said" | tail -n 1)"
done
if [ -n "$tried" ]; then
    echo "skygrid: no Python on the node can run the agent${tried}" >&2
else
    echo "skygrid: the node has none of these on its PATH:" $pythons >&2
fi
exit 90
