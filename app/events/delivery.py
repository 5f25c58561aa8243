"""From the bytes of a verified delivery to its elements, whatever they are wrapped in."""

from __future__ import annotations

import zlib
from typing import Any

import orjson

from app.utils.exceptions import InvalidRequestError, RequestTooLargeError

MAX_DELIVERY_BYTES = 1024 * 1024
# What a delivery may become when it is unpacked; JSON of many events shrinks by ten or more.
MAX_UNPACKED_BYTES = 8 * MAX_DELIVERY_BYTES
MAX_ELEMENTS = 10_000
# Pieces of a gzip file that follow one another.
MAX_PIECES = 100

PLAIN, PACKED = {"", "identity"}, {"gzip", "x-gzip"}
# zlib's own number for: with gzip's header and check sum.
GZIP = 16 + zlib.MAX_WBITS
BOM = b"\xef\xbb\xbf"
# In the place of a line that is no JSON.
UNREADABLE = object()


def elements_of(body: bytes, encoding: str) -> list[Any]:
    """Return the elements of a JSON array, of lines of JSON, or the one that there is.

    Raises: InvalidRequestError, RequestTooLargeError.
    """
    elements = _elements(_unpacked(body, encoding).removeprefix(BOM))
    if not elements:
        raise InvalidRequestError("no_events")
    if len(elements) > MAX_ELEMENTS:
        raise InvalidRequestError("too_many_events")
    return elements


def _unpacked(body: bytes, encoding: str) -> bytes:
    name = encoding.strip().lower()
    if name in PLAIN:
        return body
    if name not in PACKED:
        raise InvalidRequestError("not_unpacked")
    try:
        return _gunzipped(body)
    except zlib.error:
        raise InvalidRequestError("not_unpacked") from None


def _gunzipped(body: bytes) -> bytes:
    """Return what was packed, in one piece or several. Raises: zlib.error."""
    unpacked = b""
    for _ in range(MAX_PIECES):
        packer = zlib.decompressobj(GZIP)
        # One byte more shows that there is more; the rest of a bomb stays packed.
        unpacked += packer.decompress(body, MAX_UNPACKED_BYTES + 1 - len(unpacked))
        if len(unpacked) > MAX_UNPACKED_BYTES:
            raise RequestTooLargeError(MAX_UNPACKED_BYTES)
        if not packer.eof:
            raise zlib.error("the end is missing")
        body = packer.unused_data
        if not body:
            return unpacked
    raise zlib.error("too many pieces")


def _elements(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _lines(body)
    return document if isinstance(document, list) else [document]


def _lines(body: bytes) -> list[Any]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MAX_ELEMENTS:
        raise InvalidRequestError("too_many_events")
    elements = [_line(line) for line in lines]
    if all(it is UNREADABLE for it in elements):
        raise InvalidRequestError("not_json")
    return elements


def _line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return UNREADABLE
