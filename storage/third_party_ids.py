"""E-mail addresses and telephone numbers of accounts, in canonical form."""

from dataclasses import dataclass

from federation.protocol.identifiers import UserId
from storage.database import Database

EMAIL = "email"


@dataclass(frozen=True, slots=True)
class ThirdPartyId:
    """An address of an account; when it was proved and when it was added."""

    medium: str
    address: str
    validated_ts: int
    added_ts: int


INSERT = """
    INSERT INTO third_party_ids (medium, address, user_nid, validated_ts, added_ts)
    VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (medium, address)
        DO UPDATE SET validated_ts = excluded.validated_ts
     WHERE third_party_ids.user_nid = excluded.user_nid
 RETURNING true
"""


async def add_third_party_id(db: Database, user_nid: int, one: ThirdPartyId) -> bool:
    """Give an account an address; False if another one has it."""
    row = await db.fetchval(
        INSERT, one.medium, one.address, user_nid, one.validated_ts, one.added_ts
    )
    return row is not None


SELECT_OF = """
    SELECT medium, address, validated_ts, added_ts
      FROM third_party_ids
     WHERE user_nid = $1
     ORDER BY added_ts, medium, address
"""


async def third_party_ids_of(db: Database, user_nid: int) -> list[ThirdPartyId]:
    """The addresses of an account, oldest first."""
    return [ThirdPartyId(*row) for row in await db.fetch(SELECT_OF, user_nid)]


SELECT_OWNER = """
    SELECT u.user_id
      FROM third_party_ids AS t
      JOIN users AS u USING (user_nid)
     WHERE t.medium = $1 AND t.address = $2
"""


async def find_owner(db: Database, medium: str, address: str) -> UserId | None:
    """Whose address it is, or None."""
    user_id: UserId | None = await db.fetchval(SELECT_OWNER, medium, address)
    return user_id


DELETE = "DELETE FROM third_party_ids WHERE user_nid = $1 AND medium = $2 AND address = $3"
DELETE_MAIL_PUSHERS = """
    DELETE FROM pushers WHERE user_nid = $1 AND kind = 'email' AND pushkey = $2
"""


async def remove_third_party_id(db: Database, user_nid: int, medium: str, address: str) -> None:
    """Take an address from an account, and with it the notifications that went there."""
    await db.execute(DELETE, user_nid, medium, address)
    if medium == EMAIL:
        await db.execute(DELETE_MAIL_PUSHERS, user_nid, address)


DELETE_ALL = "DELETE FROM third_party_ids WHERE user_nid = $1"


async def remove_third_party_ids_of(db: Database, user_nid: int) -> None:
    """Take all addresses from an account."""
    await db.execute(DELETE_ALL, user_nid)


INSERT_BINDING = """
    INSERT INTO third_party_bindings (user_nid, medium, address, identity_server)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
"""


async def add_binding(
    db: Database, user_nid: int, medium: str, address: str, identity_server: str
) -> None:
    """Note that an address was bound to a user at an identity server."""
    await db.execute(INSERT_BINDING, user_nid, medium, address, identity_server)


@dataclass(frozen=True, slots=True)
class Binding:
    """An address that is bound to a user at an identity server."""

    medium: str
    address: str
    identity_server: str


SELECT_BINDINGS = """
    SELECT medium, address, identity_server FROM third_party_bindings WHERE user_nid = $1
"""


async def bindings_of(db: Database, user_nid: int) -> list[Binding]:
    """Where which addresses are bound to a user."""
    return [Binding(*row) for row in await db.fetch(SELECT_BINDINGS, user_nid)]


DELETE_BINDING = """
    DELETE FROM third_party_bindings
     WHERE user_nid = $1 AND medium = $2 AND address = $3 AND identity_server = $4
"""


async def remove_binding(db: Database, user_nid: int, binding: Binding) -> None:
    """Note that an address is not bound to a user there any more."""
    await db.execute(
        DELETE_BINDING, user_nid, binding.medium, binding.address, binding.identity_server
    )
