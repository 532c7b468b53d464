"""No test can stand still for ever."""

import asyncio

import pytest

from tests.conftest import limited


async def test_a_test_that_waits_for_ever_fails(request: pytest.FixtureRequest) -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await limited(wait_for_ever, 0)()
    # All have such a limit, this one too.
    assert hasattr(request.node.obj, "__wrapped__")
