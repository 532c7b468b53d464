"""The push rules of this server's users: changing them, showing them, having them at hand.

They are kept as account data of type `m.push_rules`, because that is how clients hear of changes;
but what is stored is only the difference from the predefined rules. `show_account_data` turns it
into what clients see.
Source: client-server API, push notifications, "Push Rules", "Push Rules: Events".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from federation.protocol.push_evaluation import Evaluator, Program, compile_ruleset
from federation.protocol.push_rules import (
    NO_CHANGES,
    PREDEFINED_RULES,
    PredefinedRules,
    Ruleset,
    copy_room_rules,
    decode_changes,
    delete_rule,
    encode_changes,
    set_actions,
    set_enabled,
    set_rule,
)
from storage.account_data import GLOBAL, EditAccountData, find_account_data
from storage.account_data_cache import AccountDataCache
from storage.changes import AccountDataSet, Change
from storage.committer import Committer
from storage.database import Database

PUSH_RULES = "m.push_rules"

UNCHANGED = encode_changes(NO_CHANGES)


class PushRules:
    """Everybody's push rules."""

    def __init__(
        self,
        db: Database,
        committer: Committer,
        max_bytes: int,
        predefined: PredefinedRules = PREDEFINED_RULES,
    ) -> None:
        self._db = db
        self._committer = committer
        self._predefined = predefined
        self._programs: AccountDataCache[Program] = AccountDataCache(
            db, PUSH_RULES, self._compile, max_bytes
        )

    async def ruleset(self, user_nid: int, user_id: str) -> Ruleset:
        """The user's rules as they stand."""
        return self._ruleset(
            user_id, await find_account_data(self._db, user_nid, GLOBAL, PUSH_RULES)
        )

    async def content(self, user_nid: int, user_id: str) -> bytes:
        """The content of the user's event `m.push_rules`."""
        return self.show(user_id, await find_account_data(self._db, user_nid, GLOBAL, PUSH_RULES))

    async def evaluator(self, user_nid: int, user_id: str) -> Evaluator:
        """The user's rules, ready to be evaluated."""
        return Evaluator(user_id, await self._programs.get(user_nid))

    async def evaluators(self, users: Mapping[int, str]) -> dict[int, Evaluator]:
        """The rules of many users (number -> ID), ready to be evaluated."""
        programs = await self._programs.get_many(users)
        return {nid: Evaluator(user_id, programs[nid]) for nid, user_id in users.items()}

    async def set_rule(
        self,
        user_nid: int,
        user_id: str,
        kind: str,
        rule_id: str,
        body: Mapping[str, Any],
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Create or change a rule. Raises as `push_rules.set_rule` does."""
        await self._change(
            user_nid,
            user_id,
            lambda rules: set_rule(rules, kind, rule_id, body, before=before, after=after),
        )

    async def delete_rule(self, user_nid: int, user_id: str, kind: str, rule_id: str) -> None:
        """Remove a rule of the user's own. Raises `NotFound`."""
        await self._change(user_nid, user_id, lambda rules: delete_rule(rules, kind, rule_id))

    async def set_enabled(
        self, user_nid: int, user_id: str, kind: str, rule_id: str, body: Mapping[str, Any]
    ) -> None:
        """Enable or disable a rule. Raises `NotFound`, `MissingParam`, `InvalidParam`."""
        await self._change(user_nid, user_id, lambda rules: set_enabled(rules, kind, rule_id, body))

    async def set_actions(
        self, user_nid: int, user_id: str, kind: str, rule_id: str, body: Mapping[str, Any]
    ) -> None:
        """Give a rule other actions. Raises `NotFound`, `MissingParam`, `InvalidParam`."""
        await self._change(user_nid, user_id, lambda rules: set_actions(rules, kind, rule_id, body))

    async def copy_room_rules(
        self, user_nid: int, user_id: str, old_room_id: str, new_room_id: str
    ) -> None:
        """Give an upgraded room's successor the user's rules for the old room."""
        await self._change(
            user_nid, user_id, lambda rules: copy_room_rules(rules, old_room_id, new_room_id)
        )

    def show_account_data(
        self, user_nid: int, user_id: str, rows: Iterable[AccountDataSet], *, complete: bool
    ) -> list[AccountDataSet]:
        """The user's account data as clients see it: with the push rules spelled out.

        `complete` says that `rows` are all there are, as in an initial sync; then rules that the
        user never changed are shown too.
        """
        shown = [
            replace(row, content=self.show(user_id, row.content)) if is_push_rules(row) else row
            for row in rows
        ]
        if complete and not any(is_push_rules(row) for row in shown):
            content = self.show(user_id, None)
            shown.append(AccountDataSet(0, user_nid, GLOBAL, PUSH_RULES, content))
        return shown

    def show(self, user_id: str, stored: bytes | None) -> bytes:
        """The content of the event `m.push_rules`, from what is stored."""
        return orjson.dumps({"global": self._ruleset(user_id, stored).to_json()})

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what was committed."""
        self._programs.heard(changes)

    def _ruleset(self, user_id: str, stored: bytes | None) -> Ruleset:
        changes = NO_CHANGES if stored is None else decode_changes(stored)
        return Ruleset(user_id, changes, self._predefined)

    def _compile(self, stored: bytes | None) -> Program:
        # A program is the same whoever it is for.
        return compile_ruleset(self._ruleset("", stored)).program

    async def _change(
        self, user_nid: int, user_id: str, change: Callable[[Ruleset], Ruleset]
    ) -> None:
        def edit(former: bytes | None) -> bytes | None:
            changed = encode_changes(change(self._ruleset(user_id, former)).changes)
            return None if changed == (former or UNCHANGED) else changed

        write = EditAccountData(user_nid, GLOBAL, PUSH_RULES, edit)
        await self._committer.commit(write)
        if write.error is not None:
            raise write.error


def is_push_rules(row: AccountDataSet) -> bool:
    """Whether the row is a user's push rules."""
    return row.room_nid == GLOBAL and row.type == PUSH_RULES
