"""Previews: what clients are shown of pages, and what no page can make the server do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from federation.protocol.glob import GlobSet
from homeserver.app import running
from homeserver.config.sections.federation import Outgoing
from homeserver.config.sections.limits import Allowance, Limits
from homeserver.config.sections.media import UrlPreviews
from homeserver.jobs.old_url_previews import KEEP_EXPIRED_MS, purge_old_url_previews
from homeserver.media.previews import oembed
from tests.homeserver.conftest import Answer, Client, Homes, settings_for_tests
from tests.homeserver.media import pictures
from tests.homeserver.media.website import Website, bomb, endlessly, never, og, open_website
from tests.homeserver.test_jobs import context_of

PATH = "v1/media/preview_url"
ON = UrlPreviews(enabled=True, ports=())
LOOPBACK = Outgoing(allow_ip_ranges=("127.0.0.1/32",))
StartServer = Callable[..., AbstractAsyncContextManager[Homes]]


@pytest.fixture
def start_server(database_url: str, tmp_path: Path) -> StartServer:
    @asynccontextmanager
    async def start(
        previews: UrlPreviews = ON, outgoing: Outgoing = LOOPBACK
    ) -> AsyncIterator[Homes]:
        settings = settings_for_tests(database_url, tmp_path)
        settings = replace(settings, url_previews=previews, outgoing=outgoing)
        async with running(settings) as server, aiohttp.ClientSession() as session:
            yield Homes(server, session)

    return start


@pytest.fixture
async def previewing(start_server: StartServer) -> AsyncIterator[Homes]:
    async with start_server() as homes:
        yield homes


@pytest.fixture
async def alice(previewing: Homes) -> Client:
    return await previewing.user()


@pytest.fixture
async def site() -> AsyncIterator[Website]:
    async with open_website() as website:
        yield website


async def preview(client: Client, url: str, **query: Any) -> Any:
    return (await client.get(PATH, url=url, **query)).ok()


async def refusal(client: Client, url: str) -> tuple[int, str]:
    answer = await client.get(PATH, url=url)
    return answer.status, answer.body["errcode"]


# What is shown


async def test_what_a_page_says_of_itself_is_shown(alice: Client, site: Website) -> None:
    url = site.put("/page", og(title="The &amp; Rock", type="video.movie", description="An island"))
    assert await preview(alice, url) == {
        "og:title": "The & Rock",
        "og:type": "video.movie",
        "og:description": "An island",
    }


async def test_the_picture_becomes_media_of_this_server(
    previewing: Homes, alice: Client, site: Website
) -> None:
    data = pictures.png(64, 48)
    site.put("/images/it.png", data, "image/png")
    url = site.put("/a/page", og(title="T", image="../images/it.png", **{"image:width": 9999}))
    shown = await preview(alice, url)
    uri = shown.pop("og:image")
    assert shown == {
        "og:title": "T",
        "og:image:type": "image/png",
        "og:image:width": 64,
        "og:image:height": 48,
        "matrix:image:size": len(data),
    }
    assert await download(previewing, alice, uri) == data


async def download(homes: Homes, client: Client, uri: str) -> bytes:
    url = f"{homes.base_url}/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    headers = {"Authorization": f"Bearer {client.token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        return await response.read()


async def test_the_former_place_answers_too(alice: Client, site: Website) -> None:
    url = site.put("/page", og(title="T"))
    answer = await alice.get("/_matrix/media/v3/preview_url", url=url)
    assert answer.ok() == {"og:title": "T"}


async def test_a_page_without_properties_is_shown_by_its_text(alice: Client, site: Website) -> None:
    url = site.put(
        "/page",
        """<html><head><title> A  title </title><style>p {}</style></head><body>
        <nav><p>Home</p></nav><script>var x = "<p>no</p>";</script>
        <p>First <b>words</b>.</p><p>Second words.</p></body></html>""",
    )
    assert await preview(alice, url) == {
        "og:title": "A title",
        "og:description": "First words.\n\nSecond words.",
    }


async def test_long_text_is_cut_between_words(alice: Client, site: Website) -> None:
    url = site.put("/page", "<p>" + "word " * 1000)
    text = (await preview(alice, url))["og:description"]
    assert len(text) <= 500
    assert text.endswith("word…")


async def test_descriptions_and_cards_stand_in(alice: Client, site: Website) -> None:
    url = site.put(
        "/page",
        """<meta name="twitter:title" content="Card"><meta name=description content="Said">
        <meta name="twitter:image" content="/missing.png"><title>Title</title><p>Text""",
    )
    assert await preview(alice, url) == {"og:title": "Card", "og:description": "Said"}


@pytest.mark.parametrize(
    ("page", "content_type"),
    [
        ("<title>Grüße</title>".encode("cp1252"), "text/html"),
        ("<title>Grüße</title>".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ("<title>Grüße</title>".encode(), "text/html; charset=nonsense"),
        ("\ufeff<title>Grüße</title>".encode("utf-16-le"), "text/html"),
        ('<meta charset="utf-8"><title>Grüße</title>'.encode(), "text/html"),
        (
            '<?xml version="1.0" encoding="iso-8859-15"?><title>Grüße</title>'.encode(
                "iso-8859-15"
            ),
            "application/xhtml+xml",
        ),
    ],
)
async def test_pages_are_read_in_their_own_encoding(
    alice: Client, site: Website, page: bytes, content_type: str
) -> None:
    url = site.put("/page", page, content_type)
    assert await preview(alice, url) == {"og:title": "Grüße"}


async def test_a_picture_is_shown_itself(alice: Client, site: Website, tmp_path: Path) -> None:
    photo = pictures.jpeg(pictures.png(80, 40), tmp_path)
    shown = await preview(alice, site.put("/photo", photo, "image/jpeg"))
    assert (shown["og:image:width"], shown["og:image:height"]) == (80, 40)
    assert shown["og:image:type"] == "image/jpeg"
    assert shown["matrix:image:size"] == len(photo)


@pytest.mark.parametrize("content_type", ["image/svg+xml", "application/zip", "video/mp4"])
async def test_of_other_files_nothing_is_shown(
    alice: Client, site: Website, content_type: str
) -> None:
    assert await preview(alice, site.put("/file", b"<svg/>", content_type)) == {}


async def test_a_service_that_the_page_names_fills_the_gaps(alice: Client, site: Website) -> None:
    site.put(
        "/oembed",
        """{"version": "1.0", "type": "video", "title": "Film", "author_name": "Ann",
            "provider_name": "Films", "thumbnail_url": "/missing", "html": "<iframe>"}""",
        "application/json",
    )
    page = '<title>Page</title><link rel=alternate type="application/json+oembed" href=/oembed>'
    assert await preview(alice, site.put("/page", page)) == {
        "og:title": "Page",
        "og:site_name": "Films",
        "og:author": "Ann",
        "og:type": "video.other",
    }


async def test_a_known_site_is_asked_for_its_posts(
    alice: Client, site: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = site.put(
        "/service",
        """{"version": "1.0", "type": "rich", "author_name": "Ann",
            "html": "<blockquote><p>A post &amp; more</p></blockquote><script>x()</script>"}""",
        "application/json",
    )
    known = oembed.Provider(service, GlobSet([f"{site.url}/status/*"]))
    monkeypatch.setattr(oembed, "PROVIDERS", (known,))
    shown = await preview(alice, f"{site.url}/status/1")
    assert shown == {"og:title": "Ann", "og:author": "Ann", "og:description": "A post & more"}
    assert site.requests[0].query == {"url": f"{site.url}/status/1", "format": "json"}


async def test_the_time_that_is_asked_for_may_be_any(alice: Client, site: Website) -> None:
    url = site.put("/page", og(title="T"))
    for ts in (0, 1_510_610_716_656, 9_999_999_999_999):
        assert await preview(alice, url, ts=ts) == {"og:title": "T"}
    assert site.paths() == ["/page"]


# How often it is fetched


async def test_a_page_is_fetched_once_for_all(
    previewing: Homes, alice: Client, site: Website
) -> None:
    url, bob = site.put("/page", og(title="T")), await previewing.user()
    both = await asyncio.gather(preview(alice, url), preview(bob, url + "#part"))
    assert both[0] == both[1] == await preview(bob, url)
    assert site.paths() == ["/page"]


async def test_a_failure_is_not_tried_again_at_once(alice: Client, site: Website) -> None:
    for _ in range(3):
        assert await refusal(alice, f"{site.url}/missing") == (502, "M_UNKNOWN")
    assert site.paths() == ["/missing"]


async def test_old_previews_go_with_their_pictures(
    previewing: Homes, alice: Client, site: Website
) -> None:
    site.put("/it.png", pictures.png(64, 48), "image/png")
    url = site.put("/page", og(title="T", image="/it.png"))
    await preview(alice, url)
    services = previewing.services
    context = context_of(previewing)
    lifetime_ms = ON.lifetime_s * 1000
    for passed_ms, left in ((lifetime_ms, 1), (lifetime_ms + KEEP_EXPIRED_MS + 60_000, 0)):
        await purge_old_url_previews(context, services.clock() + passed_ms, {})
        assert await services.db.fetchval("SELECT count(*) FROM url_previews") == left
        assert await services.db.fetchval("SELECT count(*) FROM media") == left
    released = "SELECT count(*) FROM media_contents WHERE released_ts IS NOT NULL"
    assert await services.db.fetchval(released) == 1


# Who may ask, and for what


async def test_nothing_is_fetched_unless_the_operator_wants_it(
    start_server: StartServer, site: Website
) -> None:
    async with start_server(UrlPreviews()) as homes:
        client = await homes.user()
        url = site.put("/page", og(title="T"))
        assert await refusal(client, url) == (403, "M_FORBIDDEN")
        assert not await capability(client)
    assert not site.requests


async def test_clients_are_told_that_there_are_previews(alice: Client) -> None:
    assert await capability(alice)


async def capability(client: Client) -> bool:
    capabilities = (await client.get("v3/capabilities")).ok()["capabilities"]
    enabled: bool = capabilities["io.element.msc4452.preview_url"]["enabled"]
    return enabled


async def test_one_has_to_be_logged_in(previewing: Homes, site: Website) -> None:
    url = site.put("/page", og(title="T"))
    answer = await previewing.nobody().get(PATH, url=url)
    answer.refused(401, "M_MISSING_TOKEN")
    assert not site.requests


@pytest.mark.parametrize(
    "url", ["", "nonsense", "file:///etc/passwd", "ftp://a/b", "http://", "//a/b", "gopher://a:70/"]
)
async def test_what_is_no_url_of_the_web_is_refused(alice: Client, url: str) -> None:
    assert await refusal(alice, url) == (400, "M_INVALID_PARAM")


async def test_credentials_are_not_sent(alice: Client, site: Website) -> None:
    url = site.put("/page", og(title="T")).replace("http://", "http://user:password@")
    assert await refusal(alice, url) == (403, "M_FORBIDDEN")
    assert not site.requests


async def test_the_operator_denies_urls_also_behind_redirects(
    start_server: StartServer, site: Website
) -> None:
    async with start_server(replace(ON, denied_urls=("*/secret*",))) as homes:
        client = await homes.user()
        secret = site.put("/secret/page", og(title="T"))
        assert await refusal(client, secret) == (403, "M_FORBIDDEN")
        assert await refusal(client, site.redirect("/way", secret)) == (403, "M_FORBIDDEN")
    assert site.paths() == ["/way"]


async def test_the_operator_allows_some_urls_only(start_server: StartServer, site: Website) -> None:
    async with start_server(replace(ON, allowed_urls=(f"{site.url}/open*",))) as homes:
        client = await homes.user()
        assert await refusal(client, site.put("/page", og(title="T"))) == (403, "M_FORBIDDEN")
        assert await preview(client, site.put("/open", og(title="T"))) == {"og:title": "T"}


async def test_only_some_ports_are_reached(start_server: StartServer, site: Website) -> None:
    async with start_server(replace(ON, ports=(80, 443))) as homes:
        client = await homes.user()
        assert await refusal(client, site.put("/page", og(title="T"))) == (403, "M_FORBIDDEN")
    assert not site.requests


# Hostile pages


async def test_machines_behind_the_server_are_not_reached(
    start_server: StartServer, site: Website
) -> None:
    async with start_server(outgoing=Outgoing()) as homes:
        client = await homes.user()
        port = site.url.rpartition(":")[2]
        site.put("/page", og(title="T"))
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"):
            url = f"http://{host}:{port}/page"
            assert await refusal(client, url) == (502, "M_UNKNOWN"), host
    assert not site.requests


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "file:///etc/passwd",
        "http://[",
        "",
    ],
)
async def test_redirects_lead_nowhere_else(alice: Client, site: Website, location: str) -> None:
    status, errcode = await refusal(alice, site.redirect("/way", location))
    assert (status, errcode) == (502, "M_UNKNOWN")


async def test_redirects_are_followed_a_few_times(alice: Client, site: Website) -> None:
    site.put("/page", og(title="T"))
    url = site.redirect("/one", site.redirect("/two", "/page"))
    assert await preview(alice, url) == {"og:title": "T"}
    site.redirect("/round", "/round?again")
    assert await refusal(alice, f"{site.url}/round") == (502, "M_UNKNOWN")
    assert site.paths().count("/round") == 6


async def test_pictures_are_fetched_by_the_same_rules(alice: Client, site: Website) -> None:
    port = site.url.rpartition(":")[2]
    for number, image in enumerate(
        (
            f"http://127.0.0.2:{port}/it",
            "file:///etc/passwd",
            "data:image/png;base64,AA",
            "http://[",
        )
    ):
        url = site.put(f"/page{number}", og(title="T", image=image))
        assert await preview(alice, url) == {"og:title": "T"}


async def test_what_claims_to_be_a_picture_is_looked_at(alice: Client, site: Website) -> None:
    site.put("/it.png", "<script>alert(1)</script>", "image/png")
    url = site.put("/page", og(title="T", image="/it.png"))
    assert await preview(alice, url) == {"og:title": "T"}


async def test_pages_do_not_learn_of_the_reader(alice: Client, site: Website) -> None:
    site.put("/page", og(title="T"))
    await preview(alice, site.redirect("/way", "/page"))
    for request in site.requests:
        assert (
            not {"Cookie", "Referer", "Authorization", "X-Forwarded-For"} & request.headers.keys()
        )
        assert "hearth" in request.headers["User-Agent"]
        assert request.headers["Accept-Language"] == ON.accept_language


async def test_of_an_endless_page_the_beginning_is_read(alice: Client, site: Website) -> None:
    shown = await preview(alice, site.serve("/endless", endlessly))
    assert shown["og:title"] == "Endless"


async def test_of_a_page_that_unfolds_the_beginning_is_read(alice: Client, site: Website) -> None:
    packed = bomb(b"<title>Bomb</title>", 300_000_000)
    url = site.put("/bomb", packed, Content_Encoding="gzip")
    assert await preview(alice, url) == {"og:title": "Bomb"}


async def test_a_picture_that_unfolds_is_not_kept(start_server: StartServer, site: Website) -> None:
    async with start_server(replace(ON, max_image_mb=1)) as homes:
        client = await homes.user()
        packed = bomb(pictures.png(64, 48), 5_000_000)
        site.put("/it.png", packed, "image/png", Content_Encoding="gzip")
        url = site.put("/page", og(title="T", image="/it.png"))
        assert await preview(client, url) == {"og:title": "T"}


async def test_a_page_that_never_comes_is_given_up(
    start_server: StartServer, site: Website
) -> None:
    async with start_server(replace(ON, timeout_s=4)) as homes:
        client = await homes.user()
        assert await refusal(client, site.serve("/never", never)) == (504, "M_UNKNOWN")
        site.serve("/it.png", never)
        url = site.put("/page", og(title="T", image="/it.png"))
        assert await preview(client, url) == {"og:title": "T"}


async def test_nested_pages_do_not_hurt(alice: Client, site: Website) -> None:
    url = site.put("/page", "<title>Deep</title>" + "<div>" * 200_000)
    assert (await preview(alice, url)).get("og:title", "Deep") == "Deep"


async def test_properties_are_few_and_short(alice: Client, site: Website) -> None:
    many = "".join(f'<meta property="og:x{i}" content="{"y" * 3000}">' for i in range(300))
    shown = await preview(alice, site.put("/page", many))
    assert len(shown) <= 60
    assert all(len(value) <= 2000 for value in shown.values())


async def test_users_may_not_ask_endlessly(database_url: str, tmp_path: Path) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    limits = Limits(preview=Allowance(per_second=0.001, burst=5))
    async with (
        running(replace(settings, limits=limits)) as server,
        aiohttp.ClientSession() as session,
    ):
        client = await Homes(server, session).user()
        answers: list[Answer] = [
            await client.get(PATH, url="http://a/") for _ in range(limits.preview.burst + 1)
        ]
    assert [answer.status for answer in answers] == [403] * limits.preview.burst + [429]
