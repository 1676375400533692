"""Programs that run inside an instance: `machine.sh` copies them there, nothing imports them."""
