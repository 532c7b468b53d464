"""What the server says of itself."""

import pytest

from homeserver.client_api.endpoints import ENDPOINTS
from homeserver.config.sections.well_known import SupportContact, WellKnown
from tests.homeserver.conftest import Homes
from tests.homeserver.http.server import body_of, error_of, running_server

NAMES = ("client", "server", "support", "policy_server")


async def test_all_versions_that_are_served_are_told() -> None:
    async with running_server(ENDPOINTS) as server:
        response = await server.request("GET", "/_matrix/client/versions", token="expired")
        body = await body_of(response)
    assert body["versions"][0] == "r0.0.1"
    assert body["versions"][-1] == "v1.19"
    assert all(isinstance(value, bool) for value in body["unstable_features"].values())


async def test_what_everybody_is_told_alike_may_be_kept_for_a_while() -> None:
    async with running_server(ENDPOINTS) as server:
        for_all = await server.request("GET", "/_matrix/client/versions")
        for_alice = await server.request("GET", "/_matrix/client/versions", token="alice")
    assert for_all.headers["Cache-Control"].startswith("public, max-age=")
    assert "Cache-Control" not in for_alice.headers
    assert for_all.headers["Vary"] == for_alice.headers["Vary"] == "Authorization"


async def test_clients_are_led_to_the_servers_name_unless_told_otherwise() -> None:
    async with running_server(ENDPOINTS) as server:
        response = await server.request("GET", "/.well-known/matrix/client")
        assert await body_of(response) == {"m.homeserver": {"base_url": "https://test"}}
        for name in NAMES[1:]:
            absent = await server.request("GET", f"/.well-known/matrix/{name}")
            assert await error_of(absent) == (404, "M_NOT_FOUND")


async def test_what_the_operator_sets_is_told() -> None:
    well_known = WellKnown(
        server="matrix.test:443",
        client_extra={"org.example": {"a": 1}},
        support_page="https://test/help",
        support_contacts=(SupportContact(matrix_id="@admin:test"),),
        policy_server_key="key",
    )
    async with running_server(ENDPOINTS, well_known=well_known) as server:
        answers = {
            name: await body_of(await server.request("GET", f"/.well-known/matrix/{name}"))
            for name in NAMES
        }
    assert answers == {
        "client": {"m.homeserver": {"base_url": "https://test"}, "org.example": {"a": 1}},
        "server": {"m.server": "matrix.test:443"},
        "support": {
            "contacts": [{"role": "m.role.admin", "matrix_id": "@admin:test"}],
            "support_page": "https://test/help",
        },
        "policy_server": {"public_keys": {"ed25519": "key"}},
    }


@pytest.mark.parametrize("name", NAMES)
async def test_another_web_server_may_answer_for_the_domain(name: str) -> None:
    well_known = WellKnown(serve=False, server="matrix.test:443", policy_server_key="key")
    async with running_server(ENDPOINTS, well_known=well_known) as server:
        response = await server.request("GET", f"/.well-known/matrix/{name}")
        assert await error_of(response) == (404, "M_NOT_FOUND")


async def test_a_server_that_keeps_to_itself_tells_clients_what_it_is(homes: Homes) -> None:
    nobody, alice = homes.nobody(), await homes.user()
    software = (await nobody.get("/_matrix/federation/v1/version")).ok()
    assert software["server"]["name"] == "hearth"
    token = (await alice.post(f"v3/user/{alice.user_id}/openid/request_token")).ok()
    found = await nobody.get(
        "/_matrix/federation/v1/openid/userinfo", access_token=token["access_token"]
    )
    assert found.ok() == {"sub": alice.user_id}
    (await nobody.get("/_matrix/key/v2/server")).refused(404, "M_UNRECOGNIZED")


async def test_what_does_not_exist_is_told_so_that_clients_can_fall_back(homes: Homes) -> None:
    for path in ("unstable/org.matrix.msc0000/nothing", "v9/sync", "/_matrix/nothing", "/nothing"):
        answer = await homes.nobody().get(path)
        answer.refused(404, "M_UNRECOGNIZED")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
