#!/bin/sh
# Mounts the file system of an instance: this machine's programs, without its writable folders.

# Runs in mount, pid, uts and ipc namespaces; every mount disappears with them.

#   machine.sh FOLDER PYTHON PYTHON_PREFIX SHARED CONSOLE BOOT_FOLDER [MOUNT ...]

# FOLDER is an empty directory to mount on. SHARED is a directory for the default user's
# ~/.cache/skygrid, or "-". CONSOLE is the file that becomes the log of the boot. Every MOUNT is a
# folder of this machine that the instance mounts at the same path.
set -eu
folder=$1 python=$2 prefix=$3 shared=$4 console=$5 boot=$6
shift 6

mount -t tmpfs -o mode=755 instance "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" instance "$folder/root"
cd "$folder/root"

for place in tmp:1777 var/tmp:1777 run:755 home:755 root:711 var/lib/cloud:755; do
    mkdir -p "${place%:*}"
    mount -t tmpfs -o "mode=${place#*:}" instance "${place%:*}"
done
mount -t proc instance proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 instance dev/shm
# Instances share the kernel: an instance must not be able to switch this machine off.
mkfifo -m 600 run/power run/sysrq
if [ -e proc/sysrq-trigger ]; then mount --bind run/sysrq proc/sysrq-trigger; fi
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -d sys ]; then
    mount -t sysfs -o ro instance sys || mount -t tmpfs -o ro instance sys
fi
# Unprivileged users need these folders to reach the interpreter.
mkdir -p ".$prefix"
mount --bind "$prefix" ".$prefix"

mkdir run/instance run/sshd
cp "$boot"/*.py "$boot"/*.sh run/instance/
rm -f usr/bin/systemd-run bin/systemd-run etc/ssh/ssh_host_* etc/ssh/sshd_config.d/*
touch var/log/cloud-init-output.log
mount --bind "$console" var/log/cloud-init-output.log
if [ "$shared" != - ]; then
    mkdir -p run/instance/shared
    mount --bind "$shared" run/instance/shared
fi
for place; do
    mkdir -p ".$place"
    mount --bind "$place" ".$place"
done
exec chroot . "$python" -I -S -u /run/instance/boot.py
