"""The limits that operators are told of are those of the code."""

import importlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "federation-safety.md"
ROW = re.compile(r"^\| .* \| ([0-9,]+)[^|]* \| `([\w.]+)\.(\w+)` \|$", re.MULTILINE)


def test_limits_have_the_values_that_the_page_tells() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) > 30
    for told, module, constant in rows:
        value = getattr(importlib.import_module(module), constant)
        assert float(told.replace(",", "")) == float(value), f"{module}.{constant}"
