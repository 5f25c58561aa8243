"""What a dialect must be able to say, and the common meaning that it is translated into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from app.utils.money import micro_usd


class ErrorFacts(Protocol):
    """What an API says of an error beside its message; every SolarisError has it."""

    @property
    def status(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def param(self) -> str | None: ...
    @property
    def code(self) -> str: ...


# Beyond it a number of tokens is junk, and its cost would not fit into the ledger.
MAX_COUNT = 2**31
# Of text: few tokens are longer, and most are of four.
LONG_TOKEN_BYTES = 16
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, in one meaning for every provider."""

    # All of the input; the next two are parts of it.
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def is_known(self) -> bool:
        """Tell whether somebody has counted: no prompt is empty, so zeros are no count."""
        return self.input_tokens > 0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model must be able to do to answer a request."""

    mode: str = "chat"
    images: int = 0
    # Documents, sound: what has a size in tokens that its bytes do not tell.
    files: int = 0
    tools: bool = False
    # UTF-8 bytes of the body in the longest form it may be read in, pictures and files left out.
    text_bytes: int = 0
    # Texts that are each a prompt of its own, as long as the model takes.
    prompts: int = 1
    # Answers asked for at once, and the longest that each may be; None: no limit of the caller's.
    choices: int = 1
    output_tokens: int | None = None
    # What a model may think beyond that.
    reasoning_tokens: int = 0
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A checked request to a model, of any dialect."""

    dialect: Dialect
    model: str
    # All of the body that goes on to the model, as it came.
    fields: Mapping[str, Any]
    is_stream: bool = False
    # Whom the body names as the person asking.
    user: Any = None
    needs: Needs = field(default_factory=Needs)


class StreamReader(ABC):
    """Watches the events of one streamed answer.

    ``usage`` is what was last said of it; ``is_complete`` tells that the answer's proper end has
    come, ``has_failed`` that the upstream has given it up. ``received_tokens`` is how much came,
    for an answer of which nobody ever says it; ``stated_cost`` is what LiteLLM says beside the
    usage that it cost, in micro-USD.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.stated_cost: int | None = None
        self.received_tokens = 0
        self._shortest_event = 1 << 30
        self.is_complete = False
        self.has_failed = False

    def count(self, event: bytes) -> None:
        """Count an event that holds part of the answer: a token, more where it is longer than the
        shortest one by more than a token is."""
        size = len(event)
        self._shortest_event = min(self._shortest_event, size)
        extra = size - self._shortest_event
        self.received_tokens += 1 if extra <= LONG_TOKEN_BYTES else extra // BYTES_PER_TOKEN

    def note_cost(self, usage: object) -> None:
        cost = micro_usd(usage.get("cost")) if isinstance(usage, Mapping) else None
        self.stated_cost = self.stated_cost if cost is None else cost

    @abstractmethod
    def read(self, event: bytes) -> bytes:
        """Take note of a whole event; return what the caller gets of it: it, or b""."""


class Dialect(ABC):
    """One API. Stateless; ``path`` is the same here and at LiteLLM."""

    path: ClassVar[str]
    # What a caller's headers say to the model.
    passed_headers: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parse(self, raw: bytes) -> ModelRequest:
        """Check a body's shape. Raises: InvalidRequestError, naming the field."""

    @abstractmethod
    def body_for(
        self, request: ModelRequest, model: str, user: str | None, output_tokens: int | None
    ) -> dict[str, Any]:
        """Return the body that asks ``model`` on behalf of the pseudonym ``user``, for at most
        ``output_tokens`` where the model writes any."""

    @abstractmethod
    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:
        """Return the usage that a whole answer states."""

    @abstractmethod
    def stream_reader(self, request: ModelRequest) -> StreamReader:
        """Return the reader for one stream that answers ``request``."""

    def events_of(self, body: Mapping[str, Any]) -> bytes | None:  # noqa: ARG002  # of most, none
        """Return a whole answer as the stream that was asked for, where this API needs it."""
        return None

    @abstractmethod
    def error_body(self, error: ErrorFacts, message: str, request_id: str) -> dict[str, Any]:
        """Return the JSON of an error in this API's shape."""

    @abstractmethod
    def error_event(self, error: ErrorFacts, message: str, request_id: str) -> bytes:
        """Return the event that ends a broken stream: a clean end without it looks complete."""


def count(mapping: object, key: str) -> int:
    """Return a token count; what is none, such as a text or a negative number, counts as zero."""
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MAX_COUNT else 0
