#!/bin/sh
# The supported part of systemctl: ssh, and shutdown of the machine.
verb= unit=
for word; do
    case $word in
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else unit=${word%.service}; fi ;;
    esac
done
pid=$(cat /run/sshd.pid 2>/dev/null)
case $verb:$unit in
    poweroff: | halt: | reboot:) exec "/usr/sbin/$verb" ;;
    is-system-running:) echo running ;;
    is-active:ssh | is-active:sshd)
        if [ -n "$pid" ] && [ -d "/proc/$pid" ]; then echo active; else echo inactive; exit 3; fi ;;
    reload:ssh | reload:sshd | try-reload-or-restart:ssh | reload-or-restart:ssh | restart:ssh | restart:sshd)
        [ -n "$pid" ] && kill -HUP "$pid" ;;
    *) echo "systemctl: $* is not known here" >&2; exit 1 ;;
esac
