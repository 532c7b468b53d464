"""Logging in on a web page, for clients that know none of the ways.

Source: client-server API, "Login Fallback".
"""

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.response import Response
from homeserver.client_api.web_page import page
from homeserver.http.call import Call

# What the client gives in the query, such as device_id, goes to the login endpoint as it is, but
# never over the credentials.
FORM = """<form id="login">
<p><label>User name <input id="user" autocapitalize="none" required></label></p>
<p><label>Password <input id="password" type="password" required></label></p>
<button>Log in</button>
</form>
<p id="problem"></p>
<script>
document.getElementById("login").onsubmit = async (submission) => {
    submission.preventDefault();
    const field = (name) => document.getElementById(name).value;
    const given = Object.fromEntries(new URLSearchParams(location.search));
    const response = await fetch("/_matrix/client/v3/login", {
        method: "POST",
        body: JSON.stringify({
            ...given,
            type: "m.login.password",
            identifier: {type: "m.id.user", user: field("user")},
            password: field("password"),
        }),
    });
    const answer = await response.json();
    if (response.ok && window.matrixLogin) {
        window.matrixLogin.onLogin(answer);
    } else {
        document.getElementById("problem").textContent =
            response.ok ? "You are logged in." : answer.error;
    }
};
</script>"""


@endpoint("GET", "/_matrix/static/client/login/", Access.PUBLIC, rate=Rate.REQUEST)
async def show_login_fallback(call: Call) -> Response:  # noqa: ARG001
    """Show the page."""
    return page("Log in", FORM)


ENDPOINTS = (show_login_fallback,)
