"""Numbers with bounds."""

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both inclusive; pydantic enforces them without being imported here."""

    at_least: float | None = None
    at_most: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the schema of the number."""
        bounds = {"ge": self.at_least, "le": self.at_most}
        return handler(source) | {key: bound for key, bound in bounds.items() if bound is not None}


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Port = Annotated[int, Range(0, 65_535)]
Rate = Annotated[float, Range(0)]
