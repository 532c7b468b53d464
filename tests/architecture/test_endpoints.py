"""The declared endpoints against the specification."""

import re

from federation.protocol.endpoint import Access, Endpoint, Rate
from homeserver.http.call import Call
from homeserver.http.router import Router
from tests.architecture import api_coverage
from tests.architecture.served import (
    api_modules,
    keys_of,
    served_endpoints,
    shape,
    specified_endpoints,
)

STABLE_PATH = re.compile(r"/_matrix/(client|federation|media|key)/(v\d+|versions$)|/\.well-known/")

STRICTER_THAN_SPECIFIED: dict[tuple[str, str], str] = {}
"""Endpoints that ask for a login although the specification does not, and why."""

LAXER_THAN_SPECIFIED = {
    ("GET", "/_matrix/client/v1/room_summary/{}"): (
        "the text lets servers answer without a login for rooms that anybody may preview"
    ),
}
"""Endpoints that do without the login that the OpenAPI document names, and why."""

WITHOUT_LIMIT = {
    ("POST", "/_matrix/client/v3/logout"): "each takes a session along",
    ("POST", "/_matrix/client/v3/logout/all"): "each takes all sessions along",
    ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"): "it reads",
    ("POST", "/_matrix/client/v3/register/msisdn/requestToken"): "it only refuses",
    ("POST", "/_matrix/client/v3/account/password/msisdn/requestToken"): "it only refuses",
    ("POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken"): "it only refuses",
}
"""What clients may do as often as they like, and why; administrators may do all."""

OLD_FORM = "servers of old use it, and the text tells how it differs from version 2"
DELAYED_EVENTS = "MSC4140 is accepted, and the next version of the specification will have it"
MATRIX_RTC = "MSC4143 and MSC4195 will put it there; clients ask for both names"
FALLBACK_PAGE = "the text of the authentication fallback names it"
BEYOND_THE_SPECIFICATION = {
    ("GET", "/_matrix/client/v3/auth/{}/fallback/web"): FALLBACK_PAGE,
    ("POST", "/_matrix/client/v3/auth/{}/fallback/web"): FALLBACK_PAGE,
    ("GET", "/_matrix/client/v1/rtc/transports"): MATRIX_RTC,
    ("POST", "/_matrix/client/v1/rtc/livekit/get_token"): MATRIX_RTC,
    ("POST", "/_matrix/client/v1/rtc/livekit/delegate_delayed_leave"): MATRIX_RTC,
    ("POST", "/_matrix/federation/v1/rtc/livekit/get_token"): MATRIX_RTC,
    ("PUT", "/_matrix/federation/v1/send_join/{}/{}"): OLD_FORM,
    ("PUT", "/_matrix/federation/v1/send_leave/{}/{}"): OLD_FORM,
    ("PUT", "/_matrix/client/v3/rooms/{}/delayed_event/{}/{}"): DELAYED_EVENTS,
    ("POST", "/_matrix/client/v1/delayed_events/{}/{}"): DELAYED_EVENTS,
    ("GET", "/_matrix/client/v1/delayed_events/{}"): DELAYED_EVENTS,
    ("GET", "/_matrix/client/v1/delayed_events"): DELAYED_EVENTS,
}
"""Endpoints at stable paths that no OpenAPI document names, and why."""


def test_every_declared_endpoint_is_in_its_modules_list() -> None:
    for module in api_modules():
        declared = [value for value in vars(module).values() if isinstance(value, Endpoint)]
        listed = getattr(module, "ENDPOINTS", ())
        forgotten = [f"{one.method} {one.path}" for one in declared if one not in listed]
        assert not forgotten, f"{module.__name__} does not list {forgotten}"


def test_every_modules_list_is_registered() -> None:
    registered = served_endpoints()
    for module in api_modules():
        for one in getattr(module, "ENDPOINTS", ()):
            assert one in registered, f"{module.__name__} is not in its package's endpoints"


def test_no_two_endpoints_claim_one_path() -> None:
    Router(served_endpoints())


def test_endpoints_at_stable_paths_are_the_specifications() -> None:
    known = {one.key for one in specified_endpoints()} | set(BEYOND_THE_SPECIFICATION)
    unknown = [
        f"{one.method} {one.path}"
        for one in served_endpoints()
        if STABLE_PATH.match(one.path) and (one.method, shape(one.path)) not in known
    ]
    assert not unknown


def test_path_parameters_have_the_specifications_names() -> None:
    specified = {one.key: one.path for one in specified_endpoints()}
    for one in served_endpoints():
        path = specified.get((one.method, shape(one.path)))
        if path is not None:
            assert one.path.rstrip("/") == path.rstrip("/")


def test_endpoints_ask_for_the_login_that_the_specification_asks_for() -> None:
    served = {key: one for one in served_endpoints() for key in keys_of(one)}
    wrong = [
        f"{one.method} {one.path}: {served[one.key].access.value}, specified: {one.auth}"
        for one in specified_endpoints()
        if one.key in served
        and one.key not in LAXER_THAN_SPECIFIED
        and not is_access_right(one.auth, one.api, served[one.key])
    ]
    assert not wrong


def test_nobody_writes_as_often_as_they_like() -> None:
    unlimited = {
        (one.method, one.path)
        for one in served_endpoints()
        if one.path.startswith("/_matrix/client/")
        and one.method != "GET"
        and one.access is not Access.ADMIN
        and one.rate is Rate.NONE
    }
    assert unlimited == WITHOUT_LIMIT.keys()


def test_the_coverage_document_is_fresh() -> None:
    written = api_coverage.DOCUMENT.read_text(encoding="utf-8")
    assert written == api_coverage.render(), "run: python -m tests.architecture.api_coverage"


def is_access_right(auth: str, api: str, endpoint: Endpoint[Call]) -> bool:
    """Whether the endpoint's access is what the specification says of it."""
    is_open = endpoint.access in {Access.PUBLIC, Access.OPTIONAL}
    if auth == "yes":
        is_signed = endpoint.access is Access.SERVER
        return not is_open and is_signed == (api == "server-server")
    return is_open or (endpoint.method, shape(endpoint.path)) in STRICTER_THAN_SPECIFIED
