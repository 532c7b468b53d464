"""Pages for clients that do not know a stage or a way to log in."""

from typing import Any

from homeserver.config.sections.accounts import Registration, TermsDocument
from tests.homeserver.users.server import PASSWORD, V3, UserServer, running_user_server

TERMS = (TermsDocument("tos", "1", "Terms <of use>", "https://hs1/tos?a=1&b=2"),)
STAGES = ["m.login.registration_token", "m.login.terms"]


async def show(server: UserServer, method: str, path: str, **form: str) -> tuple[int, str]:
    url = f"{server.url}{path}"
    data: dict[str, Any] = {"data": form} if form else {}
    async with server.http.request(method, url, **data) as response:
        assert response.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        return response.status, await response.text()


async def test_stages_can_be_done_on_pages(database_url: str) -> None:
    registration = Registration(enabled=True, token_required=True, terms=TERMS)
    async with running_user_server(database_url, registration=registration) as server:
        await server.users.registration_tokens.create("welcome")
        body = {"username": "anna", "password": PASSWORD}
        session = (await server.call("POST", f"{V3}/register", body)).body["session"]
        by_session = {**body, "auth": {"session": session}}
        token_page, terms_page = (f"{V3}/auth/{stage}/fallback/web" for stage in STAGES)

        status, text = await show(server, "GET", f"{token_page}?session={session}")
        assert (status, session in text) == (200, True)
        status, text = await show(server, "POST", token_page, session=session, token="no")
        assert (status, "not valid" in text) == (401, True)
        status, text = await show(server, "POST", terms_page, session=session)
        assert status == 401
        status, text = await show(server, "POST", token_page, session=session, token="welcome")
        assert (status, "onAuthDone" in text) == (200, True)
        half = await server.call("POST", f"{V3}/register", by_session)
        assert half.body["completed"] == STAGES[:1]

        status, text = await show(server, "GET", f"{terms_page}?session={session}")
        assert "Terms &lt;of use&gt;" in text
        assert "https://hs1/tos?a=1&amp;b=2" in text
        for _ in range(2):
            assert (await show(server, "POST", terms_page, session=session))[0] == 200
        done = await server.call("POST", f"{V3}/register", by_session)
        assert done.body["user_id"] == "@anna:hs1"


async def test_a_page_shows_what_it_is_given_as_text(server: UserServer) -> None:
    path = f"{V3}/auth/m.login.registration_token/fallback/web"
    status, text = await show(server, "GET", f'{path}?session="><script>alert(1)</script>')
    assert status == 200
    assert "<script>" not in text
    status, _ = await show(server, "POST", path, session="unknown", token="x")
    assert status == 404


async def test_other_stages_have_no_page(server: UserServer) -> None:
    for stage in ("m.login.dummy", "m.login.password", "m.login.recaptcha"):
        answer = await server.call("GET", f"{V3}/auth/{stage}/fallback/web?session=x")
        assert answer.error == (404, "M_NOT_FOUND")


async def test_there_is_a_page_to_log_in(server: UserServer) -> None:
    for path in ("/_matrix/static/client/login/", "/_matrix/static/client/login"):
        status, text = await show(server, "GET", f"{path}?device_id=X")
        assert status == 200
        assert "matrixLogin.onLogin" in text
