"""Who may come to a door: each kind of caller, and what a route's policy says of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.extensions import services_of
from app.routes.access import KEY_POLICY, TRUSTED_KEY_POLICY
from app.serving.flask_app import SolarisFlask

NOBODY, EXPIRED, REVOKED = "nobody", "expired", "revoked"
ROLES = {
    "user key": "user",
    "key of another team": "user",
    "viewer": "viewer",
    "auditor": "auditor",
    "admin": "admin",
}
CALLERS = (NOBODY, EXPIRED, REVOKED, *ROLES)

MakeKey = Callable[..., str]


def key_of(caller: str, app: SolarisFlask, make_key: MakeKey) -> str | None:
    """Return a key of this kind of caller; None for who has none."""
    if caller == NOBODY:
        return None
    if caller == EXPIRED:
        return make_key(role="admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    if caller == REVOKED:
        key = make_key(role="admin", name="revoked")
        services_of(app).access.revoke_key("revoked")
        return key
    return make_key(role=ROLES[caller], team_id="another" if "another" in caller else "sales")


def refusal_of(policy: str, caller: str) -> int | None:
    """Return the status that a caller is refused with; None for who is let in."""
    if policy == "everyone":
        return None
    if policy.startswith("a sender who signs"):
        return 401
    if caller in (NOBODY, EXPIRED, REVOKED):
        return 401
    if policy == TRUSTED_KEY_POLICY:
        # None of these may speak for people.
        return 403
    is_allowed = policy == KEY_POLICY or ROLES[caller] in policy.split(",")
    return None if is_allowed else 403
