"""The page behind the link in a mail that verifies an address.

Opening the link shows a button; pressing it verifies the address. Programs that look through mail
open links too, but press no buttons. Clients may submit the token as JSON as well.
Source: identity service API, `/validate/email/submitToken`.
"""

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from federation.protocol.endpoint import Access, Body, Rate, endpoint
from federation.protocol.errors import MatrixError
from federation.protocol.response import Response
from homeserver.client_api.auth_fallback import read_form
from homeserver.client_api.web_page import page
from homeserver.http.call import Call
from homeserver.http.request_body import require_str
from homeserver.users.contact_validation import SUBMIT_PATH, read_credentials

TITLE = "Verify your address"
FIELDS = ("sid", "client_secret", "token")
FORM = """<p>Press the button to say that you read the mail of this address.</p>
<form method="post">
{fields}
<button>Verify the address</button>
</form>"""
DONE = "<p>Your address is verified. You can go back to your app now.</p>"


@endpoint("GET", SUBMIT_PATH, Access.PUBLIC, rate=Rate.REQUEST)
async def show_email_validation(call: Call) -> Response:
    """Show the page behind the link. Errors: `MissingParam`."""
    fields = "\n".join(
        f'<input type="hidden" name="{name}" value="{html.escape(call.query_str(name))}">'
        for name in FIELDS
    )
    return page(TITLE, FORM.format(fields=fields))


@endpoint("POST", SUBMIT_PATH, Access.PUBLIC, rate=Rate.LOGIN, body=Body.BYTES)
async def submit_email_token(call: Call) -> Response:
    """Verify the address. Errors are shown on the page."""
    body = read_form(call.body)
    try:
        next_link = await submit(call, body)
    except MatrixError as error:
        problem = f"<p><strong>{html.escape(error.message)}</strong></p>"
        return page(TITLE, problem, error.status)
    if next_link is None:
        return page(TITLE, DONE)
    return Response(303, b"", {"Location": quote(next_link, safe=":/?#[]@!$&'()*+,;=%")})


@endpoint("POST", SUBMIT_PATH + "/json", Access.PUBLIC, rate=Rate.LOGIN)
async def submit_email_token_as_json(call: Call) -> dict[str, Any]:
    """Verify the address. Errors: `MissingParam`, `BadJson`, `TokenIncorrect`, `SessionExpired`."""
    await submit(call, call.json)
    return {"success": True}


async def submit(call: Call, body: Mapping[str, Any]) -> str | None:
    """Take the token; where the browser goes on."""
    credentials, token = read_credentials(body), require_str(body, "token")
    return await call.services.users.contacts.submit(credentials, token)


ENDPOINTS = (show_email_validation, submit_email_token, submit_email_token_as_json)
