"""Requirements of the cloud: root on Linux, OpenSSH, namespaces and sudo."""

from __future__ import annotations

import os
import sys

from tests.programs import OPENSSH, ProgramMissingError, install


def install_all() -> None:
    """Install the programs that the cloud uses.

    Raises
    ------
    ProgramMissingError
        If this machine cannot run the cloud; the message says what to do.
    """
    if sys.platform != "linux" or os.getuid() != 0:
        raise ProgramMissingError(
            "the cloud for tests needs root on Linux: its instances live in namespaces "
            "(a container needs --privileged, or --cap-add SYS_ADMIN)"
        )
    install([*OPENSSH, "unshare", "mount", "chroot", "sudo"])
