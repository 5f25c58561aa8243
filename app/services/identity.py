"""Who a trusted key speaks for: LibreChat's and Open WebUI's ways of naming a person.

Sources: LibreChat `packages/api/src/utils/env.ts` (placeholders, `b64:`), Open WebUI
`backend/open_webui/utils/headers.py` (percent-encoded names, signed `-User-Jwt`).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields, replace
from typing import Protocol
from urllib.parse import unquote

import jwt

from app.ledger.rules import EVERYBODY
from app.utils.exceptions import IdentityRejectedError, InvalidFieldError

MAX_VALUE_LENGTH = 256
# Open WebUI stamps its tokens with its own host's clock; one second ahead must lock nobody out.
CLOCK_LEEWAY_S = 60


class InvalidFactError(InvalidFieldError):
    """A name, e-mail address or id that cannot be one; ``param`` is which of them."""

    def __init__(self, fact: str) -> None:
        super().__init__("not_a_fact", param=fact)


class Headers(Protocol):
    """Header values by name, in any case; latin-1 text, as WSGI has it."""

    def get(self, key: str, /) -> str | None: ...


# Header names in order of preference, for each fact about the person.
PERSON_HEADERS: dict[str, tuple[str, ...]] = {
    "user_id": ("X-Solaris-User-Id", "X-OpenWebUI-User-Id"),
    "email": ("X-Solaris-User-Email", "X-Solaris-Email", "X-OpenWebUI-User-Email"),
    "name": ("X-Solaris-User-Name", "X-Solaris-Name", "X-OpenWebUI-User-Name"),
    "role": ("X-Solaris-User-Role", "X-Solaris-Role", "X-OpenWebUI-User-Role"),
    "team": ("X-Solaris-Team", "X-Solaris-User-Team"),
    "conversation_id": ("X-Solaris-Conversation-Id", "X-OpenWebUI-Chat-Id"),
    "message_id": ("X-Solaris-Message-Id", "X-OpenWebUI-Message-Id"),
}
OPENWEBUI_JWT_HEADER = "X-OpenWebUI-User-Jwt"
OPENWEBUI_JWT_CLAIMS = {"sub": "user_id", "email": "email", "name": "name", "role": "role"}


@dataclass(frozen=True, slots=True)
class Person:
    """What a trusted key says about the person behind one call; None where it says nothing."""

    user_id: str | None = None
    email: str | None = None
    name: str | None = None
    role: str | None = None
    team: str | None = None
    conversation_id: str | None = None
    message_id: str | None = None


def person_from_headers(headers: Headers, jwt_secret: str | None) -> Person:
    """Read the person named by ``headers`` (latin-1 text, as WSGI has it).

    Raises: IdentityRejectedError, when a signed identity does not verify.
    """
    person = Person(
        **{
            fact: _first(headers, _believed(names, is_signing=jwt_secret is not None))
            for fact, names in PERSON_HEADERS.items()
        }
    )
    token = headers.get(OPENWEBUI_JWT_HEADER)
    if not jwt_secret or not token:
        return person
    # What is signed wins over what is merely said.
    return replace(person, **_known(_person_from_jwt(token, jwt_secret)))


def _believed(names: tuple[str, ...], *, is_signing: bool) -> tuple[str, ...]:
    """Leave out what an Open WebUI that signs would have signed."""
    if not is_signing:
        return names
    return tuple(name for name in names if not name.startswith("X-OpenWebUI-User-"))


def decode_header(value: str | None) -> str | None:
    """Return the text that a header carries, or None where it carries none.

    LibreChat sends `b64:<base64 of UTF-8>` when a character does not fit latin-1, a literal
    `{{PLACEHOLDER}}` when it knew no value; Open WebUI percent-encodes.
    """
    if not value or not value.strip():
        return None
    value = value.strip()
    if value.startswith("b64:"):
        return _meaningful(_decode_base64(value[4:]))
    return _meaningful(_utf8_if_possible(value))


def _first(headers: Headers, names: tuple[str, ...]) -> str | None:
    for name in names:
        value = decode_header(headers.get(name))
        if value and name == "X-OpenWebUI-User-Name":
            value = _meaningful(unquote(value))
        if value:
            return value
    return None


def _decode_base64(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8")
    except ValueError:  # not ASCII, not base64, or not UTF-8 inside
        return ""


def _utf8_if_possible(value: str) -> str:
    """Read the latin-1 text as UTF-8 where it is valid UTF-8: some clients send raw UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return value


def _meaningful(value: str) -> str | None:
    """Return None for a placeholder that nobody filled in: it names no one."""
    value = clean(value)
    return None if not value or (value.startswith("{{") and value.endswith("}}")) else value


def clean(value: str) -> str:
    """Drop control characters, and cut what no honest identity needs."""
    printable = "".join(character for character in value if character.isprintable())
    name = printable.strip()[:MAX_VALUE_LENGTH].rstrip()
    # In a budget it stands for everybody, so that it is nobody's name.
    return "" if name == EVERYBODY else name


def valid_id(fact: str, value: str) -> str:
    """Return an id that a client could name. Raises: InvalidFactError, naming ``fact``."""
    if not value or clean(value) != value:
        raise InvalidFactError(fact)
    return value


def _person_from_jwt(token: str, secret: str) -> Person:
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            issuer="open-webui",
            options={"require": ["sub"]},
            leeway=CLOCK_LEEWAY_S,
        )
    except jwt.PyJWTError as fault:
        raise IdentityRejectedError() from fault
    facts = {fact: claims.get(claim) for claim, fact in OPENWEBUI_JWT_CLAIMS.items()}
    person = Person(**{k: clean(v) or None for k, v in facts.items() if isinstance(v, str)})
    if person.user_id is None:
        raise IdentityRejectedError()
    return person


def _known(person: Person) -> dict[str, str]:
    values = {field.name: getattr(person, field.name) for field in fields(person)}
    return {name: value for name, value in values.items() if value is not None}
