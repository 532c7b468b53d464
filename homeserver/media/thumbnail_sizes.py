"""Which thumbnails there are: what is asked for is made a little larger, so that few are kept.

Source: client-server API, "Thumbnails": a thumbnail is never smaller than what was asked for,
unless the picture is.
"""

from dataclasses import replace

from federation.inbound.reading_ports import Thumbnail

UNREDUCED = 10_000
"""More is never asked for: the picture as large as it is."""
BOXES = ((32, 32), (96, 96), (320, 240), (640, 480), (800, 600), (1600, 1200), (3200, 2400))
"""What pictures are scaled into; the first five are the specification's."""
SIDES = (32, 96, 320, 640, 800, 1600, 3200, UNREDUCED)
"""The longer side of what is cropped."""
RATIOS = ((1, 1), (4, 3), (3, 2), (16, 9), (2, 1), (3, 1))
"""Of the longer side to the shorter one."""


def kept_size(wanted: Thumbnail) -> Thumbnail:
    """The thumbnail that is made when `wanted` is asked for."""
    fit = cropped_size if wanted.method == "crop" else scaled_size
    width, height = fit(max(1, wanted.width), max(1, wanted.height))
    return replace(wanted, width=width, height=height, animated=bool(wanted.animated))


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """The first box that has room for what is wanted."""
    for box in BOXES:
        if width <= box[0] and height <= box[1]:
            return box
    return UNREDUCED, UNREDUCED


def cropped_size(width: int, height: int) -> tuple[int, int]:
    """The first size of nearly the same shape that covers what is wanted."""
    longer, shorter = max(width, height), min(width, height)
    ratio = min(RATIOS, key=lambda one: abs(one[0] * shorter - one[1] * longer) / one[1])
    for side in SIDES:
        other = side * ratio[1] // ratio[0]
        if longer <= side and shorter <= other:
            return (side, other) if width >= height else (other, side)
    return UNREDUCED, UNREDUCED
