# Ends the instance: sh watchdog.sh FOLDER LEASE_SECONDS LIFETIME_SECONDS EXPIRES
# It does so when FOLDER/lease was not touched for LEASE_SECONDS, when the word "end" stands in it,
# LIFETIME_SECONDS after the first start, and at EXPIRES (seconds since the epoch).
#
# Seconds are those of /proc/uptime: a clock that is set at boot would end a lease at once, or never.
# EXPIRES is for an instance that was booted again.
folder=$1 lease_seconds=$2 lifetime=$3 expires=$4
trap '' HUP INT QUIT USR1 USR2 ALRM
# The last that a machine does is to end what is left, and systemd waits a minute and a half for that.
trap 'if is_down; then exit 0; fi' TERM
echo -1000 2>/dev/null >/proc/self/oom_score_adj || :
cd /

# Whether all services have ended, and the first process is the one that switches off.
is_down() {
    read -r first </proc/1/comm
    [ "${first#systemd-shut}" != "$first" ]
}

uptime() {
    read -r now _ </proc/uptime
    now=${now%.*}
}

# `shutdown` and `poweroff` end an instance, which `halt` does not; the last one asks nobody.
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
# One that was killed and started again goes on with the lifetime that began with the first.
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
        end "nobody renewed its lease for $lease_seconds s"
    elif [ $((now - began)) -ge "$lifetime" ] || [ "$(date +%s)" -ge "$expires" ]; then
        end "its lifetime is over"
    fi
    sleep "$pause"
done
