"""The command line, as ``skygrid`` and as ``python -m skygrid``."""

from __future__ import annotations

import sys

from skygrid.errors import UsageError
from skygrid.util.platforms import check_platform
from skygrid.util.process import (
    Interruption,
    interrupt_on_signals,
    last_signal,
    open_standard_streams,
)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    open_standard_streams()
    try:
        interrupt_on_signals()
        check_platform()
        from skygrid.cli.main import main as run_command  # its imports are known to be there now

        run_command()
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except Interruption:
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + last_signal())


if __name__ == "__main__":
    main()
