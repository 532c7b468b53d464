"""How the command line hands the checked settings to the process that serves.

Written to a file without a name: nobody else can open it, and it is gone when the server has
read it.
"""

import os

from homeserver.config.settings import Settings, from_json, to_json

SERVE = "serve"
"""The argument that makes the program serve; the number of the file descriptor follows it."""


def hand_over(settings: Settings) -> int:
    """The file descriptor that the next program, which inherits it, reads the settings from."""
    import tempfile

    # The descriptor of the file is ours alone to close: a copy of it goes to the next program.
    with tempfile.TemporaryFile("w+") as written:
        written.write(to_json(settings))
        written.flush()
        written.seek(0)
        descriptor = os.dup(written.fileno())
    os.set_inheritable(descriptor, True)
    return descriptor


def take_over(descriptor: int) -> Settings:
    """The settings behind the descriptor, which is closed."""
    with os.fdopen(descriptor) as handed_over:
        return from_json(handed_over.read())
