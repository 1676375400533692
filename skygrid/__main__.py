"""``python -m skygrid``: the command line."""

from skygrid.cli.main import main

main()
