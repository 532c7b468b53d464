"""All endpoints of the server-server API, chapter by chapter."""

from federation.inbound import keys, version

ENDPOINTS = (*version.ENDPOINTS, *keys.ENDPOINTS)
