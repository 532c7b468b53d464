"""Everything that can be wrong in Matrix terms: one class for each errcode.

Status and errcode live on the class, what happened lives in the instance. `homeserver/http`
turns any of them into a response. Source: client-server API, "Standard error response".
"""

from typing import Any, ClassVar


class MatrixError(Exception):
    """An error that the other side is told about."""

    status: ClassVar[int] = 400
    errcode: ClassVar[str] = "M_UNKNOWN"

    is_attempt = True
    """Whether a call that ends so counts as one of the caller's attempts, where these are limited.
    What only asks how to attempt something does not."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def body(self) -> dict[str, Any]:
        """The response body: `errcode`, `error` and whatever the class adds."""
        return {"errcode": self.errcode, "error": self.message}


class Unknown(MatrixError):
    """Something was wrong that no other code describes."""


class BadJson(MatrixError):
    """The body is JSON, but not of the shape that was asked for."""

    errcode = "M_BAD_JSON"


class NotJson(MatrixError):
    """The body is not JSON."""

    errcode = "M_NOT_JSON"


class InvalidParam(MatrixError):
    """A parameter has the wrong value."""

    errcode = "M_INVALID_PARAM"


class MissingParam(MatrixError):
    """A required parameter is absent."""

    errcode = "M_MISSING_PARAM"


class Forbidden(MatrixError):
    """The caller may not do this."""

    status = 403
    errcode = "M_FORBIDDEN"


class NotFound(MatrixError):
    """There is no such thing, or the caller may not know of it."""

    status = 404
    errcode = "M_NOT_FOUND"


class Unrecognized(MatrixError):
    """No endpoint has this path."""

    status = 404
    errcode = "M_UNRECOGNIZED"


class MethodNotAllowed(MatrixError):
    """The path exists, but not with this method."""

    status = 405
    errcode = "M_UNRECOGNIZED"


class TooLarge(MatrixError):
    """The request or the event is too large."""

    status = 413
    errcode = "M_TOO_LARGE"


class RequestTimeout(MatrixError):
    """Somebody who had to be asked has not answered."""

    status = 408


class UnknownDevice(MatrixError):
    """The device is not one of the user's."""

    errcode = "M_UNKNOWN_DEVICE"


class AppserviceLoginUnsupported(MatrixError):
    """Application services do not log in here, but make devices."""

    errcode = "M_APPSERVICE_LOGIN_UNSUPPORTED"


class LimitExceeded(MatrixError):
    """Too many requests; the caller may try again after `retry_after_ms`."""

    status = 429
    errcode = "M_LIMIT_EXCEEDED"

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"Too many requests; try again in {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms

    def body(self) -> dict[str, Any]:
        """Adds `retry_after_ms`."""
        return super().body() | {"retry_after_ms": self.retry_after_ms}


class MissingToken(MatrixError):
    """No access token was given."""

    status = 401
    errcode = "M_MISSING_TOKEN"

    def __init__(self) -> None:
        super().__init__("Missing access token")


class UnknownToken(MatrixError):
    """The access token is not (or no longer) valid; `soft_logout` keeps the client's session."""

    status = 401
    errcode = "M_UNKNOWN_TOKEN"

    def __init__(self, message: str = "Unknown access token", *, soft_logout: bool = False) -> None:
        super().__init__(message)
        self.soft_logout = soft_logout

    def body(self) -> dict[str, Any]:
        """Adds `soft_logout`."""
        return super().body() | {"soft_logout": self.soft_logout}


class Unauthorized(MatrixError):
    """The request is not authorised (federation signatures among others)."""

    status = 401
    errcode = "M_UNAUTHORIZED"


class UserLocked(MatrixError):
    """The account is locked by an administrator."""

    status = 401
    errcode = "M_USER_LOCKED"

    def body(self) -> dict[str, Any]:
        """Adds `soft_logout`, so that the client keeps its session."""
        return super().body() | {"soft_logout": True}


class UserSuspended(MatrixError):
    """The account is suspended by an administrator."""

    status = 403
    errcode = "M_USER_SUSPENDED"


class UserDeactivated(MatrixError):
    """The account was deactivated."""

    status = 403
    errcode = "M_USER_DEACTIVATED"


class UserInUse(MatrixError):
    """The user ID is taken."""

    errcode = "M_USER_IN_USE"


class InvalidUsername(MatrixError):
    """The user name breaks the grammar."""

    errcode = "M_INVALID_USERNAME"


class WeakPassword(MatrixError):
    """The password is too easily guessed."""

    errcode = "M_WEAK_PASSWORD"


class Exclusive(MatrixError):
    """The name is reserved by an application service."""

    errcode = "M_EXCLUSIVE"


class GuestAccessForbidden(MatrixError):
    """Guests may not do this."""

    status = 403
    errcode = "M_GUEST_ACCESS_FORBIDDEN"


class RoomInUse(MatrixError):
    """The room alias is taken."""

    errcode = "M_ROOM_IN_USE"


class InvalidRoomState(MatrixError):
    """The initial state of a new room breaks the rules."""

    errcode = "M_INVALID_ROOM_STATE"


class BadAlias(MatrixError):
    """A room alias does not point to the room that names it."""

    errcode = "M_BAD_ALIAS"


class BadState(MatrixError):
    """The change does not fit the state of the room."""

    errcode = "M_BAD_STATE"


class DuplicateAnnotation(MatrixError):
    """The user has already reacted so."""

    errcode = "M_DUPLICATE_ANNOTATION"


class UnsupportedRoomVersion(MatrixError):
    """This server does not speak the room's version."""

    errcode = "M_UNSUPPORTED_ROOM_VERSION"

    def __init__(self, version_id: object) -> None:
        super().__init__(f"Room version {version_id!r} is not supported")
        self.version_id = version_id


class IncompatibleRoomVersion(MatrixError):
    """The other server does not speak the room's version."""

    errcode = "M_INCOMPATIBLE_ROOM_VERSION"

    def __init__(self, room_version: str) -> None:
        super().__init__(f"The room has version {room_version}, which was not offered")
        self.room_version = room_version

    def body(self) -> dict[str, Any]:
        """Adds `room_version`."""
        return super().body() | {"room_version": self.room_version}


class UnableToAuthoriseJoin(MatrixError):
    """This server cannot tell whether the restricted join is allowed; another one may."""

    errcode = "M_UNABLE_TO_AUTHORISE_JOIN"


class UnableToGrantJoin(MatrixError):
    """Nobody on this server may let the user into the restricted room."""

    errcode = "M_UNABLE_TO_GRANT_JOIN"


class ThreepidNotFound(MatrixError):
    """The third-party identifier is bound to nobody."""

    errcode = "M_THREEPID_NOT_FOUND"


class ThreepidInUse(MatrixError):
    """The third-party identifier belongs to another account."""

    errcode = "M_THREEPID_IN_USE"


class ThreepidAuthFailed(MatrixError):
    """It is not proved that somebody owns a third-party identifier."""

    errcode = "M_THREEPID_AUTH_FAILED"


class TokenIncorrect(MatrixError):
    """The token that is to prove an address is another one."""

    errcode = "M_TOKEN_INCORRECT"


class SessionExpired(MatrixError):
    """The proof of an address has taken too long."""

    errcode = "M_SESSION_EXPIRED"


class ThreepidDenied(MatrixError):
    """This third-party identifier (or any) is not allowed here."""

    status = 403
    errcode = "M_THREEPID_DENIED"


class ThreepidMediumNotSupported(MatrixError):
    """This server cannot verify identifiers of this kind."""

    errcode = "M_THREEPID_MEDIUM_NOT_SUPPORTED"


class ServerNotTrusted(MatrixError):
    """The identity server is not trusted."""

    status = 400
    errcode = "M_SERVER_NOT_TRUSTED"


class InviteBlocked(MatrixError):
    """The invited user does not take invites from the inviter."""

    status = 403
    errcode = "M_INVITE_BLOCKED"


class ProfileTooLarge(MatrixError):
    """The profile would be larger than profiles may be."""

    errcode = "M_PROFILE_TOO_LARGE"


class KeyTooLarge(MatrixError):
    """The name of a profile field is too long."""

    errcode = "M_KEY_TOO_LARGE"


class WrongRoomKeysVersion(MatrixError):
    """The key backup has moved on to `current_version`."""

    status = 403
    errcode = "M_WRONG_ROOM_KEYS_VERSION"

    def __init__(self, current_version: str) -> None:
        super().__init__("The key backup is of another version")
        self.current_version = current_version

    def body(self) -> dict[str, Any]:
        """Adds `current_version`."""
        return super().body() | {"current_version": self.current_version}


class CannotLeaveServerNoticeRoom(MatrixError):
    """The server notices room may not be left."""

    status = 403
    errcode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"


class ResourceLimitExceeded(MatrixError):
    """A limit of the whole server is reached."""

    status = 403
    errcode = "M_RESOURCE_LIMIT_EXCEEDED"


class NotYetUploaded(MatrixError):
    """The media ID is reserved, its content has not come yet."""

    status = 504
    errcode = "M_NOT_YET_UPLOADED"


class CannotOverwriteMedia(MatrixError):
    """The media ID has content already."""

    status = 409
    errcode = "M_CANNOT_OVERWRITE_MEDIA"


class RemoteTooLarge(MatrixError):
    """Another server's media are larger than this one fetches."""

    status = 502
    errcode = "M_TOO_LARGE"


class UserLimitExceeded(MatrixError):
    """The user has used up what the account may use; `info_uri` tells people more."""

    status = 403
    errcode = "M_USER_LIMIT_EXCEEDED"

    def __init__(self, message: str, info_uri: str) -> None:
        super().__init__(message)
        self.info_uri = info_uri

    def body(self) -> dict[str, Any]:
        """Adds `info_uri`."""
        return super().body() | {"info_uri": self.info_uri}


class AuthRuleFailed(Forbidden):
    """An event breaks an authorisation rule; `rule` names it, such as `leave.kick`."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class InvalidEvent(BadJson):
    """An event is malformed: not JSON of the right shape, too large, or with wrong field types."""


class SignatureInvalid(Unauthorized):
    """A needed signature is absent or wrong."""


class BadSignature(MatrixError):
    """A client has uploaded something whose signature is absent or wrong."""

    errcode = "M_INVALID_SIGNATURE"
