"""Asking a server for its users' devices and their keys.

What comes back is only looked at for its shape; whether keys are those of whom they claim to be is
for the caller to find out.
Source: server-server API, "Device Management", "End-to-End Encryption".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer
from federation.protocol.canonical_json import MAX_INTEGER
from federation.protocol.identifiers import ServerName, UserId, server_of

QUERY = build_path("federation", "v1", "user", "keys", "query")
CLAIM = build_path("federation", "v1", "user", "keys", "claim")


@dataclass(frozen=True, slots=True)
class FetchedList:
    """A user's devices as their server lists them, up to the update `stream_id`."""

    stream_id: int
    devices: Sequence[Mapping[str, Any]]
    master_key: Mapping[str, Any] | None
    self_signing_key: Mapping[str, Any] | None


class RemoteDeviceKeys:
    """Asks; every function raises `FederationError`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def device_list(self, user_id: UserId, timeout_s: float) -> FetchedList:
        """All devices of a user."""
        server = server_of(user_id)
        path = build_path("federation", "v1", "user", "devices", user_id)
        answer = await self._client.request(server, "GET", path, timeout_s=timeout_s)
        fields = object_of(answer, server)
        stream_id, devices = fields.get("stream_id"), fields.get("devices")
        if type(stream_id) is not int or not 0 <= stream_id <= MAX_INTEGER:
            raise BadAnswer(server, "`stream_id` of the answer is not a natural number")
        if not isinstance(devices, list) or not all(isinstance(one, dict) for one in devices):
            raise BadAnswer(server, "`devices` of the answer is not a list of objects")
        return FetchedList(
            stream_id,
            devices,
            optional_object(fields, "master_key"),
            optional_object(fields, "self_signing_key"),
        )

    async def query(
        self, server: ServerName, wanted: Mapping[UserId, Sequence[str]], timeout_s: float
    ) -> Mapping[str, Any]:
        """The identity keys of users' devices, and cross-signing keys."""
        body = {"device_keys": {user_id: list(ids) for user_id, ids in wanted.items()}}
        answer = await self._client.request(server, "POST", QUERY, body=body, timeout_s=timeout_s)
        return object_of(answer, server)

    async def claim(
        self, server: ServerName, wanted: Mapping[UserId, Mapping[str, str]], timeout_s: float
    ) -> Mapping[str, Any]:
        """One-time keys of devices, by user and device ID."""
        body = {"one_time_keys": {user_id: dict(by_id) for user_id, by_id in wanted.items()}}
        answer = await self._client.request(server, "POST", CLAIM, body=body, timeout_s=timeout_s)
        return optional_object(object_of(answer, server), "one_time_keys") or {}


def object_of(answer: Any, server: ServerName) -> Mapping[str, Any]:
    """The answer, if it is an object. Raises `BadAnswer`."""
    if not isinstance(answer, Mapping):
        raise BadAnswer(server, "The answer is not an object")
    return answer


def optional_object(fields: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The object under a key, or None for anything else."""
    value = fields.get(key)
    return value if isinstance(value, Mapping) else None
