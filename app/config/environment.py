"""Strict reading of environment variables, secrets from files included."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Environment:
    """Reads typed values and collects every problem, so that one start shows them all."""

    def __init__(self, variables: Mapping[str, str], *, production: bool) -> None:
        self._variables = variables
        self._production = production
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._raw(name) or default

    def optional(self, name: str) -> str | None:
        return self._raw(name) or None

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            self._problem(name, f"must be one of {', '.join(allowed)}")
            return default
        return value

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        raw = self._raw(name)
        if not raw:
            return default
        try:
            value = int(raw)
        except ValueError:
            self._problem(name, "must be a whole number")
            return default
        return value if self._within(name, value, low, high) else default

    def seconds(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self._raw(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            self._problem(name, "must be a number of seconds")
            return default
        return value if self._within(name, value, low, high) else default

    def timezone(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._problem(name, "must be the name of a time zone, such as America/Sao_Paulo")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self._raw(name).lower()
        if raw and raw not in _TRUE | _FALSE:
            self._problem(name, "must be true or false")
        return raw in _TRUE if raw else default

    def url(self, name: str, default: str, *, schemes: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value and not self._is_url(value, schemes):
            self._problem(name, f"must be a URL that starts with {' or '.join(schemes)}")
            return default
        return value

    def secret_url(self, name: str, default: str, *, schemes: tuple[str, ...]) -> str:
        """A URL that may carry a password, so it can come from NAME_FILE too."""
        value = self.secret(name) or default
        if value and not self._is_url(value, schemes):
            self._problem(name, f"must be a URL that starts with {' or '.join(schemes)}")
            return default
        return value

    def secret(self, name: str) -> str | None:
        """NAME, or the content of the file that NAME_FILE points at; never both."""
        direct, path = self._raw(name), self._raw(f"{name}_FILE")
        if direct and path:
            self._problem(name, f"is set together with {name}_FILE; keep one of them")
        if path and not direct:
            return self._from_file(f"{name}_FILE", Path(path))
        return direct or None

    def _from_file(self, name: str, path: Path) -> str | None:
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            self._problem(name, "points at a file that cannot be read")
            return None
        if self._production and mode & stat.S_IROTH:
            self._problem(name, "points at a file that everyone may read; chmod it to 0400")
        if not value:
            self._problem(name, "points at an empty file")
        return value or None

    def _raw(self, name: str) -> str:
        return self._variables.get(name, "").strip()

    def _within(self, name: str, value: float, low: float, high: float) -> bool:
        if low <= value <= high:
            return True
        self._problem(name, f"must be between {low:g} and {high:g}")
        return False

    @staticmethod
    def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
        try:
            parts = urlsplit(value)
            # Reading the port checks it. Databases' URLs have forms that need neither.
            has_place = parts.scheme not in ("http", "https") or (
                parts.hostname and parts.port != 0
            )
            return value.startswith(schemes) and bool(has_place)
        except ValueError:
            return False

    def _problem(self, name: str, what: str) -> None:
        # The value itself stays out of the message: it may be a secret.
        self.problems.append(f"{name} {what}")
