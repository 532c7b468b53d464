"""Which versions of the specification are served.

Source: client-server API, "API Versions".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.http.call import Call

SPEC_VERSIONS = (
    "r0.0.1",
    "r0.1.0",
    "r0.2.0",
    "r0.3.0",
    "r0.4.0",
    "r0.5.0",
    "r0.6.0",
    "r0.6.1",
    *(f"v1.{minor}" for minor in range(1, 20)),
)

UNSTABLE_FEATURES: Mapping[str, bool] = {"org.matrix.msc3874": True}
"""What is served although no version of the specification has it yet, by the names of the MSCs."""


# A token is not looked at: no feature is for some users only, and a client whose token has
# expired asks for the versions too.
@endpoint("GET", "/_matrix/client/versions", Access.PUBLIC)
async def get_versions(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """List the versions, and the features that are not in any version yet."""
    return {"versions": SPEC_VERSIONS, "unstable_features": UNSTABLE_FEATURES}


ENDPOINTS = (get_versions,)
