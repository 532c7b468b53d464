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
    third_party_invites,
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
    *third_party_invites.ENDPOINTS,
    *policy.ENDPOINTS,
)
