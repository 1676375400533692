# Starts the watchdog: sh -c START skygrid FOLDER WATCHDOG LEASE_SECONDS LIFETIME_SECONDS EXPIRES
#
# WATCHDOG is the text of watchdog.sh; the rest are its arguments. Runs as root at every boot,
# before all other commands of the instance.
folder=$1 text=$2
shift 2
umask 022
mkdir -p "$folder"
printf '%s\n' "$text" >"$folder/watchdog.sh"
# World-writable, because the login user renews the lease and does not exist yet.
: >"$folder/lease"
chmod 666 "$folder/lease"
started=
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    # --no-block and DefaultDependencies=no: this runs before sysinit.target, for which services
    # wait by default, so waiting for the service here would never end.
    systemd-run --quiet --no-block --unit=skygrid-watchdog --property=DefaultDependencies=no \
        --property=Restart=always --property=RestartSec=1 --property=StartLimitIntervalSec=0 \
        --property=TimeoutStopSec=1 --property=OOMScoreAdjust=-1000 \
        /bin/sh "$folder/watchdog.sh" "$folder" "$@" && started=yes
fi
if [ -z "$started" ]; then
    setsid /bin/sh -c 'trap "" HUP INT
        trap : TERM
        until /bin/sh "$0/watchdog.sh" "$0" "$@"; do sleep 1; done' \
        "$folder" "$@" </dev/null >/dev/null 2>&1 &
fi
