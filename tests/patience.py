"""How long a test waits for what must come: far longer than the busiest machine needs.

Nothing is asserted by it: what comes ends the wait at once, and what does not come at all fails the
test only later.
"""

PATIENCE_S = 90
LONGEST_TEST_S = 600
"""A test that takes longer hangs: it fails, and the others go on."""
LONG_POLL_MS = 120_000
"""For requests that news are to end: by themselves they end when nobody waits any more."""
