"""The page behind the link in a mail by which its reader has no more of them.

Mail programs that know RFC 8058 send the POST by themselves.
"""

import html

from federation.protocol.endpoint import Access, Body, Rate, endpoint
from federation.protocol.response import Response
from homeserver.client_api.web_page import page
from homeserver.http.call import Call
from homeserver.push.unsubscribing import PATH

TITLE = "Notifications by mail"
FORM = """<p>{address} gets mails about what {user_id} has not read.</p>
<form method="post">
<button>No more of these mails</button>
</form>"""
DONE = "<p>There will be no more of these mails. You can switch them on again in your app.</p>"


@endpoint("GET", PATH, Access.PUBLIC, rate=Rate.REQUEST)
async def show_unsubscribe(call: Call) -> Response:
    """Show the page. Errors: `MissingParam`."""
    values = {name: html.escape(call.query_str(name)) for name in ("address", "user_id")}
    return page(TITLE, FORM.format(**values))


@endpoint("POST", PATH, Access.PUBLIC, rate=Rate.REQUEST, body=Body.BYTES)
async def unsubscribe(call: Call) -> Response:
    """Send no more mails. Errors: `MissingParam`, `Forbidden`."""
    await call.services.unsubscribing.unsubscribe(
        call.query_str("user_id"), call.query_str("address"), call.query_str("token")
    )
    return page(TITLE, DONE)


ENDPOINTS = (show_unsubscribe, unsubscribe)
