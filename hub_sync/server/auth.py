"""Users, organizations, tokens, who may read and write what, and signed URLs.

Tokens are kept as SHA-256 only. A token has a role, read or write; what its user may do comes on top: everybody
reads public repositories, members of a namespace read its private ones, and those with a write role write. An
administrator (the local user that a fresh hub starts with) may write to every namespace.
"""

import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from . import problems
from .names import is_name
from .store import Store

TokenRole = Literal["read", "write"]
SESSION_LIFETIME_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Principal:
    """Who sends a request. `user_id` 0 is anonymous; `role` is None for anonymous."""

    user_id: int = 0
    name: str = ""
    admin: bool = False
    role: TokenRole | None = None
    token_name: str = ""

    @property
    def anonymous(self) -> bool:
        return self.user_id == 0


ANONYMOUS = Principal()


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create_user(store: Store, name: str, *, kind: str = "user", admin: bool = False) -> int:
    """Add a user or organization (`kind="org"`) and return its id. Raises Problem 409 where the name is taken."""
    if not is_name(name):
        raise problems.bad_request(f"Invalid user name {name!r}")
    with store.write() as db:
        try:
            cursor = db.execute(
                "INSERT INTO users (name, kind, fullname, email, admin, created) VALUES (?,?,?,?,?,?)",
                (name, kind, name, f"{name}@users.noreply.localhost", int(admin), time.time()),
            )
        except sqlite3.IntegrityError:
            raise problems.conflict(f"The name {name!r} is taken") from None
        assert cursor.lastrowid is not None
        return cursor.lastrowid


def create_token(
    store: Store, user: str, role: TokenRole = "write", name: str = "", *, token: str = "", lifetime_s: float = 0
) -> str:
    """Issue a token for a user and return it; it cannot be read again. `lifetime_s` 0 means no expiry."""
    row = store.db.execute("SELECT id FROM users WHERE name=? AND kind='user'", (user,)).fetchone()
    if row is None:
        raise problems.bad_request(f"There is no user {user!r}")
    token = token or "hf_" + secrets.token_hex(20)
    expires = time.time() + lifetime_s if lifetime_s else None
    with store.write() as db:
        db.execute(
            "INSERT INTO tokens VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (token_digest(token), row["id"], name or role, role, time.time(), expires),
        )
    return token


def add_member(store: Store, org: str, user: str, role: str = "write") -> None:
    """Give a user a role (read, write or admin) in an organization."""
    with store.write() as db:
        db.execute(
            "INSERT INTO members SELECT o.id, u.id, ? FROM users o, users u WHERE o.name=? AND u.name=? "
            "ON CONFLICT DO UPDATE SET role=excluded.role",
            (role, org, user),
        )


def identify(store: Store, authorization: str | None) -> Principal:
    """The sender of a request, from its Authorization header (Bearer, or Basic with the token as password). Raises
    Problem 401 for a token that is unknown or expired."""
    if not authorization:
        return ANONYMOUS
    scheme, _, value = authorization.partition(" ")
    token, who = value.strip(), None
    with suppress(ValueError):
        if scheme.lower() == "basic":
            token = base64.b64decode(token, validate=True).decode().partition(":")[2]
        if scheme.lower() in ("basic", "bearer"):
            who = _holder(store, token_digest(token))
    if who is None:
        raise problems.unknown_token()
    return who


def _holder(store: Store, digest: str) -> Principal | None:
    """Whose token has this SHA-256; None for one that is unknown or expired."""
    row = store.db.execute(
        "SELECT u.id, u.name, u.admin, t.role, t.name AS token_name, t.expires FROM tokens t "
        "JOIN users u ON u.id = t.user WHERE t.sha256=?",
        (digest,),
    ).fetchone()
    if row is None or (row["expires"] and row["expires"] < time.time()):
        return None
    return Principal(row["id"], row["name"], bool(row["admin"]), row["role"], row["token_name"])


def start_session(store: Store, secret: bytes, token: str) -> str | None:
    """The value of a browser's session cookie for an access token; None for one that is unknown or expired. It names
    the token by its SHA-256, so a revoked or expired token ends the session."""
    digest = token_digest(token)
    if _holder(store, digest) is None:
        return None
    return sign(secret, {"use": "session", "token": digest}, SESSION_LIFETIME_S)


def of_session(store: Store, secret: bytes, cookie: str | None) -> Principal:
    """Whose session this cookie is; anonymous where there is none or it is over."""
    try:
        claims = unsign(secret, cookie or "", "session")
    except problems.Problem:
        return ANONYMOUS
    return _holder(store, claims["token"]) or ANONYMOUS


def role_in(store: Store, who: Principal, namespace: str) -> str | None:
    """The principal's role in a namespace: 'admin', 'write', 'read', or None for an outsider."""
    if who.anonymous:
        return None
    if who.admin or who.name.lower() == namespace.lower():
        return "admin"
    row = store.db.execute(
        "SELECT m.role FROM members m JOIN users o ON o.id = m.org WHERE o.name=? AND m.user=?",
        (namespace, who.user_id),
    ).fetchone()
    return row[0] if row else None


def may_read(store: Store, who: Principal, namespace: str, private: bool) -> bool:
    return not private or role_in(store, who, namespace) is not None


def require_write_token(who: Principal) -> None:
    """Raises Problem 401 for anonymous, 403 for a read-only token."""
    if who.anonymous:
        raise problems.login_required()
    if who.role != "write":
        raise problems.forbidden("This token is read-only: use a token with the write role")


def require_write(store: Store, who: Principal, namespace: str) -> None:
    """As `require_write_token`, and Problem 403 for a user without a write role."""
    require_write_token(who)
    if role_in(store, who, namespace) not in ("admin", "write"):
        raise problems.forbidden(f"You don't have the rights to write under the namespace {namespace!r}")


def describe(store: Store, who: Principal) -> dict[str, Any]:
    """The answer to `whoami`."""
    row = store.db.execute("SELECT * FROM users WHERE id=?", (who.user_id,)).fetchone()
    orgs = store.db.execute(
        "SELECT o.name, o.fullname, m.role FROM members m JOIN users o ON o.id = m.org WHERE m.user=? ORDER BY o.name",
        (who.user_id,),
    ).fetchall()
    return {
        "type": "user",
        "id": f"{who.user_id:024x}",
        "name": row["name"],
        "fullname": row["fullname"],
        "email": row["email"],
        "emailVerified": True,
        "canPay": False,
        "isPro": False,
        "periodEnd": None,
        "orgs": [
            {"type": "org", "name": org["name"], "fullname": org["fullname"], "roleInOrg": org["role"]} for org in orgs
        ],
        "auth": {"type": "access_token", "accessToken": {"displayName": who.token_name, "role": who.role}},
    }


def sign(secret: bytes, claims: Mapping[str, Any], lifetime_s: float) -> str:
    """A compact signed statement, for URLs and short-lived tokens that carry no account token."""
    body = json.dumps({**claims, "exp": int(time.time() + lifetime_s)}, separators=(",", ":"), sort_keys=True)
    packed = base64.urlsafe_b64encode(body.encode()).rstrip(b"=").decode()
    return f"{packed}.{_mac(secret, packed)}"


def _mac(secret: bytes, packed: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret, packed.encode(), "sha256")).rstrip(b"=").decode()


def unsign(secret: bytes, signed: str, use: str) -> dict[str, Any]:
    """The claims of `sign`. Raises Problem 401 where it was altered, expired, or made for another use."""
    packed, _, mac = signed.partition(".")
    try:
        if not hmac.compare_digest(_mac(secret, packed).encode(), mac.encode()):
            raise ValueError
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except ValueError:
        raise problems.Problem(401, "Invalid signature") from None
    if claims.get("use") != use or claims["exp"] < time.time():
        raise problems.Problem(401, "This signature has expired or was made for another use")
    return claims
