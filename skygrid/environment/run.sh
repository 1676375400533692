# Runs the bridge: sh -c RUN skygrid ROOT ENVIRONMENT_KEY CODE_KEY ARGUMENT... The working directory
# is ROOT, so that arguments can name folders under it.
environment=envs/$2-$(uname -s)-$(uname -m)
code=code/$3
case $1 in
/*) root=$1 ;;
"~") root=$HOME ;;
"~/"*) root=$HOME/${1#??} ;;
*) root=$HOME/$1 ;;
esac
shift 3
cd "$root" 2>/dev/null || exit 76
root=$(pwd)
# unpack.sh, which runs next, names what others can change.
[ -z "$(foreign "$environment" "$code")" ] || exit 76
[ -e "$environment/ready" ] && [ -e "$code/ready" ] && [ -x "$environment/bin/python" ] || exit 76
# remove_unused in prepare.sh reads these times.
touch "$environment/ready" "$code/ready" 2>/dev/null || :
unset PYTHONHOME PYTHONSTARTUP
VIRTUAL_ENV=$root/$environment
PATH=$VIRTUAL_ENV/bin:$PATH
PYTHONPATH=$root/$code
SKYGRID_ROOT=$root
export VIRTUAL_ENV PATH PYTHONPATH SKYGRID_ROOT
exec "$VIRTUAL_ENV/bin/python" -P -m skygrid.worker.keeper.bridge "$@"
