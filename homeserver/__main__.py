"""The program `hearth`, and the lean process that `hearth run` turns into.

`hearth run` checks the configuration with tools that a server has no further use for (typer,
pydantic, rich), then replaces itself by `python -m homeserver serve N`, which reads the checked
settings from file descriptor N and holds nothing but the server.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def main() -> None:
    """Run the command line, or serve where `hearth run` says so, or ask whether it does."""
    from homeserver.cli import health

    if health.is_plain(sys.argv[1:]):
        sys.exit(health.run(sys.argv[1:]))
    from homeserver.config.handover import SERVE

    if sys.argv[1:2] == [SERVE]:
        serve(int(sys.argv[2]))
        return
    from homeserver.cli.main import run_command_line

    run_command_line()


def serve(descriptor: int) -> None:
    """Serve with the settings behind the descriptor, until a signal ends it."""
    import asyncio
    import logging

    import asyncpg

    from homeserver.app import serve as serve_settings
    from homeserver.config.handover import take_over
    from homeserver.config.keys import KeyFileError
    from homeserver.observe.log import configure_logging
    from migrations.apply import MigrationError
    from storage.cluster_errors import ClusterError
    from storage.database import DatabaseUnavailable

    told_plainly = (
        ClusterError,
        DatabaseUnavailable,
        KeyFileError,
        MigrationError,
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
    )
    settings = take_over(descriptor)
    configure_logging(settings.log)
    try:
        with asyncio.Runner(loop_factory=find_loop_factory()) as runner:
            runner.run(serve_settings(settings))
    except told_plainly as error:
        logging.getLogger("hearth").critical("%s", error)
        sys.exit(1)


def find_loop_factory() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """What makes the event loop: uvloop, or asyncio itself where there is no uvloop."""
    try:
        from uvloop import new_event_loop
    except ModuleNotFoundError:
        return None
    return new_event_loop


if __name__ == "__main__":
    main()
