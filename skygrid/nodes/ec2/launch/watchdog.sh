# Ends the instance: sh watchdog.sh FOLDER LEASE_SECONDS LIFETIME_SECONDS EXPIRES
#
# It acts when FOLDER/lease was not modified for LEASE_SECONDS, when the lease holds the word "end",
# LIFETIME_SECONDS after the first start, and at EXPIRES (seconds since the epoch).
#
# Time is measured by /proc/uptime, because the clock may be set during boot. EXPIRES covers
# instances that were booted again.
folder=$1 lease_seconds=$2 lifetime=$3 expires=$4
trap '' HUP INT QUIT USR1 USR2 ALRM
# Ignores TERM, except at the end of a shutdown, where systemd would wait 90 s for this process.
trap 'if is_down; then exit 0; fi' TERM
echo -1000 2>/dev/null >/proc/self/oom_score_adj || :
cd /

# Succeeds if all services have ended and PID 1 is systemd-shutdown.
is_down() {
    read -r first </proc/1/comm
    [ "${first#systemd-shut}" != "$first" ]
}

uptime() {
    read -r now _ </proc/uptime
    now=${now%.*}
}

# `shutdown` and `poweroff` terminate an instance, `halt` does not. sysrq works without any process.
end() {
    echo "skygrid: this instance ends itself: $1" >/dev/kmsg 2>/dev/null || :
    shutdown -P now
    sleep 20
    poweroff -f
    sleep 10
    echo 1 >/proc/sys/kernel/sysrq
    echo o >/proc/sysrq-trigger
    sleep 10
} 2>/dev/null

uptime
renewed=$now
# A restarted watchdog continues the lifetime of the first.
[ -s "$folder/began" ] || echo "$now" >"$folder/began"
read -r began <"$folder/began" || began=$now
echo renewed >"$folder/seen"
pause=$((lease_seconds / 20))
[ "$pause" -ge 1 ] || pause=1
[ "$pause" -le 10 ] || pause=10

while :; do
    uptime
    if [ "$folder/lease" -nt "$folder/seen" ]; then
        renewed=$now
        echo renewed >"$folder/seen"
    fi
    word=
    read -r word 2>/dev/null <"$folder/lease" || :
    if [ "$word" = end ]; then
        end "it was told to"
    elif [ $((now - renewed)) -ge "$lease_seconds" ]; then
        end "its lease was not renewed for $lease_seconds s"
    elif [ $((now - began)) -ge "$lifetime" ] || [ "$(date +%s)" -ge "$expires" ]; then
        end "its lifetime is over"
    fi
    sleep "$pause"
done
