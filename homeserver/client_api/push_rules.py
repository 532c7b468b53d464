"""Push rules.

Source: client-server API, "Push Rules: API".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.push_rules import PushRule, RuleKind, Ruleset, rule_json
from homeserver.http.call import Call

RULE = "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}"


@endpoint("GET", "/_matrix/client/v3/pushrules/", Access.USER)
async def get_push_rules(call: Call) -> dict[str, Any]:
    """Show all rulesets."""
    return {"global": (await own_ruleset(call)).to_json()}


@endpoint("GET", "/_matrix/client/v3/pushrules/global/", Access.USER)
async def get_push_rules_global(call: Call) -> dict[str, Any]:
    """Show all rules."""
    return (await own_ruleset(call)).to_json()


@endpoint("GET", RULE, Access.USER)
async def get_push_rule(call: Call) -> dict[str, Any]:
    """Show a rule. Errors: `NotFound`."""
    rule = await own_rule(call)
    return rule_json(RuleKind(call.path["kind"]), rule, call.user_id)


@endpoint("PUT", RULE, Access.USER, rate=Rate.REQUEST)
async def set_push_rule(call: Call) -> dict[str, Any]:
    """Create or change a rule.

    Errors: `InvalidParam`, `MissingParam`, `Unknown` for a `before` or `after` that is not there.
    """
    await call.services.push_rules.set_rule(
        call.user_nid,
        call.user_id,
        call.path["kind"],
        call.path["ruleId"],
        call.json,
        before=call.query_optional_str("before"),
        after=call.query_optional_str("after"),
    )
    return {}


@endpoint("DELETE", RULE, Access.USER, rate=Rate.REQUEST)
async def delete_push_rule(call: Call) -> dict[str, Any]:
    """Remove a rule of one's own. Errors: `NotFound`."""
    await call.services.push_rules.delete_rule(
        call.user_nid, call.user_id, call.path["kind"], call.path["ruleId"]
    )
    return {}


@endpoint("GET", f"{RULE}/enabled", Access.USER)
async def is_push_rule_enabled(call: Call) -> dict[str, Any]:
    """Tell whether a rule is enabled. Errors: `NotFound`."""
    return {"enabled": (await own_rule(call)).enabled}


@endpoint("PUT", f"{RULE}/enabled", Access.USER, rate=Rate.REQUEST)
async def set_push_rule_enabled(call: Call) -> dict[str, Any]:
    """Enable or disable a rule. Errors: `NotFound`, `MissingParam`, `InvalidParam`."""
    await call.services.push_rules.set_enabled(
        call.user_nid, call.user_id, call.path["kind"], call.path["ruleId"], call.json
    )
    return {}


@endpoint("GET", f"{RULE}/actions", Access.USER)
async def get_push_rule_actions(call: Call) -> dict[str, Any]:
    """Show a rule's actions. Errors: `NotFound`."""
    return {"actions": list((await own_rule(call)).actions)}


@endpoint("PUT", f"{RULE}/actions", Access.USER, rate=Rate.REQUEST)
async def set_push_rule_actions(call: Call) -> dict[str, Any]:
    """Give a rule other actions. Errors: `NotFound`, `MissingParam`, `InvalidParam`."""
    await call.services.push_rules.set_actions(
        call.user_nid, call.user_id, call.path["kind"], call.path["ruleId"], call.json
    )
    return {}


async def own_ruleset(call: Call) -> Ruleset:
    """The caller's rules."""
    return await call.services.push_rules.ruleset(call.user_nid, call.user_id)


async def own_rule(call: Call) -> PushRule:
    """The caller's rule that the path names. Raises `NotFound`."""
    return (await own_ruleset(call)).get_rule(call.path["kind"], call.path["ruleId"])


ENDPOINTS = (
    get_push_rules,
    get_push_rules_global,
    get_push_rule,
    set_push_rule,
    delete_push_rule,
    is_push_rule_enabled,
    set_push_rule_enabled,
    get_push_rule_actions,
    set_push_rule_actions,
)
