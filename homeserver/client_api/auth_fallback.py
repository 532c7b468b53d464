"""Stages of user-interactive authentication on a web page, for clients that do not know them.

Source: client-server API, "Fallback" of user-interactive authentication.
"""

import html

from federation.protocol.endpoint import Access, Body, Rate, endpoint
from federation.protocol.errors import InvalidParam, MatrixError, NotFound
from federation.protocol.response import Response
from homeserver.client_api.web_page import page
from homeserver.config.sections.accounts import TermsDocument
from homeserver.http.call import Call
from homeserver.http.query import parse_query
from homeserver.users.registration import TERMS, TOKEN

PATH = "/_matrix/client/v3/auth/{auth_type}/fallback/web"
TITLE = "Register"

FORM = """<form method="post">
<input type="hidden" name="session" value="{session}">
{fields}
<button>Continue</button>
</form>"""

CODE_INPUT = """<label>Registration token
<input name="token" autocomplete="off" autocapitalize="none" required>
</label>"""

DONE = """<p>You can go back to your app now.</p>
<script>
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
</script>"""


@endpoint("GET", PATH, Access.PUBLIC, rate=Rate.REQUEST)
async def show_auth_fallback(call: Call) -> Response:
    """Show the page of a stage. Errors: `MissingParam`, `NotFound`."""
    return page(TITLE, build_form(call, call.query_str("session")))


@endpoint("POST", PATH, Access.PUBLIC, rate=Rate.REGISTRATION, body=Body.BYTES)
async def submit_auth_fallback(call: Call) -> Response:
    """Do the stage. Errors: `InvalidParam`, `NotFound`; others are shown on the page."""
    fields = read_form(call.body)
    session = fields.get("session", "")
    form = build_form(call, session)
    auth = {"type": call.path["auth_type"], "token": fields.get("token", "")}
    users = call.services.users
    try:
        await users.interactive_auth.complete_outside(
            session, users.registration.build_offer(), auth
        )
    except MatrixError as error:
        problem = f"<p><strong>{html.escape(error.message)}</strong></p>"
        return page(TITLE, problem + form, error.status)
    return page(TITLE, DONE)


def build_form(call: Call, session: str) -> str:
    """The form of the stage. Raises `NotFound` for a stage that has none."""
    stage = call.path["auth_type"]
    if stage == TOKEN:
        fields = CODE_INPUT
    elif stage == TERMS:
        documents = call.services.settings.registration.terms
        fields = "<p>Please read and accept:</p>\n" + "\n".join(map(build_checkbox, documents))
    else:
        raise NotFound("This stage has no page")
    return FORM.format(session=html.escape(session), fields=fields)


def build_checkbox(document: TermsDocument) -> str:
    """The line by which a document is accepted."""
    title, url = html.escape(document.title), html.escape(document.url)
    return f'<p><label><input type="checkbox" required> <a href="{url}">{title}</a></label></p>'


def read_form(body: bytes) -> dict[str, str]:
    """The fields that a form has sent. Raises `InvalidParam`."""
    try:
        fields = parse_query(body.decode("ascii"))
    except UnicodeDecodeError as error:
        raise InvalidParam("The form is not encoded as it should be") from error
    return {name: values[0] for name, values in fields.items()}


ENDPOINTS = (show_auth_fallback, submit_auth_fallback)
