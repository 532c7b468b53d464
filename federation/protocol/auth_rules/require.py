"""The word the authorisation rules are written with."""

from federation.protocol.errors import AuthRuleFailed


def require(condition: bool, rule: str, message: str) -> None:
    """Go on if the condition holds; else raise `AuthRuleFailed` of this rule."""
    if not condition:
        raise AuthRuleFailed(rule, message)
