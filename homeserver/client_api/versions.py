"""Which versions of the specification are served.

Source: client-server API, "API Versions".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.discovery import SPEC_VERSIONS
from homeserver.http.call import Call


# A token is not looked at: no feature is for some users only, and a client whose token has
# expired asks for the versions too.
@endpoint("GET", "/_matrix/client/versions", Access.PUBLIC)
async def get_versions(call: Call) -> dict[str, Any]:
    """List the versions and the features that are not in any version yet."""
    return {
        "versions": SPEC_VERSIONS,
        "unstable_features": call.services.discovery.unstable_features,
    }


ENDPOINTS = (get_versions,)
