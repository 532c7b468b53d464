"""All endpoints of the client-server API, chapter by chapter."""

from federation.protocol.endpoint import Endpoint
from homeserver.client_api import (
    account_deactivation,
    account_password,
    admin_users,
    auth_metadata,
    capabilities,
    devices,
    login,
    login_token,
    logout,
    openid,
    refresh,
    registration,
    registration_tokens,
    third_party_ids,
    third_party_lookup,
    versions,
    voip,
    well_known,
    whoami,
)
from homeserver.http.call import Call

ENDPOINTS: tuple[Endpoint[Call], ...] = (
    *versions.ENDPOINTS,
    *well_known.ENDPOINTS,
    *login.ENDPOINTS,
    *login_token.ENDPOINTS,
    *logout.ENDPOINTS,
    *refresh.ENDPOINTS,
    *whoami.ENDPOINTS,
    *registration.ENDPOINTS,
    *registration_tokens.ENDPOINTS,
    *account_password.ENDPOINTS,
    *account_deactivation.ENDPOINTS,
    *devices.ENDPOINTS,
    *third_party_ids.ENDPOINTS,
    *auth_metadata.ENDPOINTS,
    *capabilities.ENDPOINTS,
    *openid.ENDPOINTS,
    *voip.ENDPOINTS,
    *third_party_lookup.ENDPOINTS,
    *admin_users.ENDPOINTS,
)
