#!/bin/sh
# shutdown, poweroff, halt and reboot: asks the instance's first process. PATH is not needed.
# systemd's meaning of the options: `shutdown` powers off in a minute unless told when.
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
# Opened to read too: with no reader left (the end has begun) a writer would wait for ever.
if ! printf '%s %s\n' "$what" "$minutes" 1<>/run/power; then
    echo "$name: must be root" >&2
    exit 1
fi
