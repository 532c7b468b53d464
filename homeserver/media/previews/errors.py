"""What can go wrong with a preview."""

from federation.protocol.errors import Forbidden, MatrixError


class PreviewFailed(MatrixError):
    """The page cannot be had.

    Not why: users would learn what there is behind the server.
    """

    status = 502
    errcode = "M_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("The URL could not be fetched")


class PreviewTimedOut(MatrixError):
    """The page took too long."""

    status = 504
    errcode = "M_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("The URL took too long to answer")


class UrlNotAllowed(Forbidden):
    """The configuration forbids to fetch this URL."""

    def __init__(self) -> None:
        super().__init__("There are no previews of this URL")
