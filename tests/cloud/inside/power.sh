#!/bin/sh
# shutdown, poweroff, halt and reboot: send the request to the first process. No PATH needed.
# Options have systemd's meaning: `shutdown` powers off in a minute unless a time is given.
what=poweroff when=+1 name=${0##*/}
case $name in
    poweroff | halt | reboot) what=$name when=now ;;
esac
for word; do
    case $word in
        -h | -P | -p | --poweroff) what=poweroff ;;
        -H | --halt) what=halt ;;
        -r | --reboot) what=reboot ;;
        -f | --force | -n | --no-wall | -q | --quiet) ;;
        -c) what=cancel when=now ;;
        -*) echo "$name: $word is not known here" >&2; exit 1 ;;
        *) when=$word; break ;;
    esac
done
case $when in
    now) minutes=0 ;;
    +*) minutes=${when#+} ;;
    *) minutes=$when ;;
esac
case $minutes in
    '' | *[!0-9]*) echo "$name: the time $when is not known here" >&2; exit 1 ;;
esac
# Open for reading too: after the shutdown begins there is no other reader, and writing would block.
if ! printf '%s %s\n' "$what" "$minutes" 1<>/run/power; then
    echo "$name: must be root" >&2
    exit 1
fi
