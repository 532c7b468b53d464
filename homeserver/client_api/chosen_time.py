"""The time of an event, which application services may choose.

Source: application service API, "Timestamp massaging".
"""

from federation.protocol.errors import InvalidParam
from homeserver.http.call import Call

PARAMETERS = ("ts", "org.matrix.msc3316.ts")
LATEST = 2**53 - 1


def chosen_time(call: Call) -> int | None:
    """The `origin_server_ts` that an application service wants its event to have; else None.

    Raises `InvalidParam`.
    """
    if call.service is None:
        return None
    for name in PARAMETERS:
        chosen = call.query_int(name, maximum=LATEST + 1)
        if chosen is not None:
            if chosen > LATEST:
                raise InvalidParam(f"Query parameter '{name}' is no time")
            return chosen
    return None
