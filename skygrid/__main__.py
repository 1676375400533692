"""The command line, as ``skygrid`` and as ``python -m skygrid``."""

from __future__ import annotations

import sys

from skygrid.errors import UsageError
from skygrid.util.platforms import check_platform


def main() -> None:
    """Run the command line, once it is clear that what it imports is there."""
    try:
        check_platform()
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    from skygrid.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
