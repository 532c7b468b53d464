"""All endpoints of the server-server API, chapter by chapter."""

from federation.inbound import (
    call_tokens,
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

FOR_CLIENTS_TOO = (*version.ENDPOINTS, *openid.ENDPOINTS)
"""What clients and services beside them ask for as well, also of a server that keeps to itself."""

ENDPOINTS = (
    *FOR_CLIENTS_TOO,
    *keys.ENDPOINTS,
    *transactions.ENDPOINTS,
    *events.ENDPOINTS,
    *spaces.ENDPOINTS,
    *public_rooms.ENDPOINTS,
    *queries.ENDPOINTS,
    *devices.ENDPOINTS,
    *media.ENDPOINTS,
    *membership.ENDPOINTS,
    *third_party_invites.ENDPOINTS,
    *policy.ENDPOINTS,
    *call_tokens.ENDPOINTS,
)
