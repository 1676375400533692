# Gives the host a new key and prints its public half: sh -c HOST_KEY skygrid FOLDER
#
# FOLDER is /etc/ssh. The old key stood in the user-data, which others can read. Without root the
# script uses sudo, which must not ask for a password.
folder=$1
say() {
    echo "skygrid: $1" >&2
    exit 1
}
if [ "$(id -u)" = 0 ] || [ -w "$folder" ]; then
    as=
elif sudo -n true 2>/dev/null; then
    as="sudo -n"
else
    say "the user $(id -un) may not use sudo without a password: name another user under [aws]"
fi
key=$folder/ssh_host_ed25519_key
$as rm -f "$key.new" "$key.new.pub"
$as ssh-keygen -q -t ed25519 -N '' -C '' -f "$key.new" </dev/null >/dev/null ||
    say "ssh-keygen made no host key in $folder"
public=$($as cat "$key.new.pub") || say "there is no new host key in $folder"
# A mixed pair is harmless for a moment, because sshd reads only the private half.
$as mv -f "$key.new.pub" "$key.pub" && $as mv -f "$key.new" "$key" ||
    say "the host key in $folder could not be replaced"
for other in rsa ecdsa dsa; do
    $as rm -f "$folder/ssh_host_${other}_key" "$folder/ssh_host_${other}_key.pub"
done
# sshd reads its keys at its start and on reload; open connections survive.
$as systemctl reload ssh 2>/dev/null ||
    $as systemctl reload sshd 2>/dev/null ||
    $as kill -HUP "$(cat /run/sshd.pid 2>/dev/null)" 2>/dev/null ||
    say "sshd could not be told to read its new host key"
echo "skygrid-host-key $public"
