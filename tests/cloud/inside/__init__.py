"""What runs inside an instance; nothing here is imported, `machine.sh` copies it there."""
