"""Processes of a test, which end with it even if they do not want to."""

import subprocess

from tests.patience import PATIENCE_S


def wait_for_end(process: "subprocess.Popen[bytes]") -> int:
    """The status with which a process ends by itself; one that does not is killed.

    Raises `subprocess.TimeoutExpired` then.
    """
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
