"""What requests for mails that verify an address have in common."""

from typing import Any

from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_int, require_str
from homeserver.users.contact_validation import MailRequest, Purpose


async def request_mail(call: Call, purpose: Purpose) -> dict[str, Any]:
    """Send the mail that a request asks for.

    Raises `MissingParam`, `BadJson`, `InvalidParam`, `ThreepidDenied`, `ThreepidInUse`,
    `ThreepidNotFound`, `LimitExceeded`, `MailNotSent`.
    """
    request = MailRequest(
        require_str(call.json, "email"),
        require_str(call.json, "client_secret"),
        require_int(call.json, "send_attempt"),
        optional_str(call.json, "next_link"),
    )
    return {"sid": await call.services.users.contacts.request_mail(purpose, request)}
