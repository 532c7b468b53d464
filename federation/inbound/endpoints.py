"""All endpoints of the server-server API, chapter by chapter."""

from federation.inbound import (
    devices,
    events,
    keys,
    media,
    membership,
    openid,
    policy,
    public_rooms,
    queries,
    spaces,
    transactions,
    version,
)

ENDPOINTS = (
    *version.ENDPOINTS,
    *keys.ENDPOINTS,
    *transactions.ENDPOINTS,
    *events.ENDPOINTS,
    *spaces.ENDPOINTS,
    *public_rooms.ENDPOINTS,
    *queries.ENDPOINTS,
    *devices.ENDPOINTS,
    *openid.ENDPOINTS,
    *media.ENDPOINTS,
    *membership.ENDPOINTS,
    *policy.ENDPOINTS,
)
