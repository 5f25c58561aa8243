"""Strict reading of environment variables, secrets from files included."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from decimal import Decimal
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.config.addresses import literal_address, may_send_to
from app.config.problems import Problem
from app.config.quiet_hours import QuietHours, parse_quiet_hours

# Not every address that may exist; none that could be more than an address.
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Environment:
    """Reads typed values and collects every problem, so that one start shows them all."""

    def __init__(self, variables: Mapping[str, str], *, production: bool) -> None:
        self._variables = variables
        self._production = production
        self.problems: list[Problem] = []

    def text(self, name: str, default: str) -> str:
        return self._raw(name) or default

    def optional(self, name: str) -> str | None:
        return self._raw(name) or None

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            self._problem(name, "not_a_choice", allowed=", ".join(allowed))
            return default
        return value

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        raw = self._raw(name)
        if not raw:
            return default
        try:
            value = int(raw)
        except ValueError:
            self._problem(name, "not_an_integer")
            return default
        return value if self._within(name, value, low, high) else default

    def seconds(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self._raw(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            self._problem(name, "not_seconds")
            return default
        return value if self._within(name, value, low, high) else default

    def rate(self, name: str) -> Decimal | None:
        """An exchange rate, such as 5.40; none where nothing is said."""
        raw = self._raw(name)
        if not raw:
            return None
        if not _RATE.fullmatch(raw) or not Decimal(raw):
            self._problem(name, "not_a_rate")
            return None
        return Decimal(raw)

    def timezone(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._problem(name, "not_a_timezone")
            return default
        return value

    def quiet_hours(self, name: str) -> QuietHours | None:
        raw = self._raw(name)
        try:
            return parse_quiet_hours(raw) if raw else None
        except ValueError:
            self._problem(name, "not_hours")
            return None

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self._raw(name).lower()
        if raw and raw not in _TRUE | _FALSE:
            self._problem(name, "not_a_flag")
        return raw in _TRUE if raw else default

    def url(self, name: str, default: str, *, schemes: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value and not self._is_url(value, schemes):
            self._problem(name, "not_a_url", schemes=", ".join(schemes))
            return default
        return value

    def networks(self, name: str, default: str) -> str:
        """IP addresses and networks, separated by commas; `*` is everyone, nothing is nobody."""
        value = self.text(name, default)
        for part in value.split(",") if value else ():
            if part.strip() != "*" and not self._is_network(part.strip()):
                self._problem(name, "not_networks")
                return default
        return value

    def traces(self, name: str) -> bool:
        """An http URL, for which the extra `otel` must be installed."""
        value = self.text(name, "")
        if value and not self._is_url(value, ("http://", "https://")):
            self._problem(name, "not_a_url", schemes="http://, https://")
        elif value and find_spec("opentelemetry") is None:
            self._problem(name, "needs_extra", extra="otel")
        return bool(value)

    def secret_url(self, name: str, default: str, *, schemes: tuple[str, ...]) -> str:
        """A URL that may carry a password, so it can come from NAME_FILE too."""
        value = self.secret(name) or default
        if value and not self._is_url(value, schemes):
            self._problem(name, "not_a_url", schemes=", ".join(schemes))
            return default
        return value

    def outside_urls(self, name: str, *, allow_private: bool) -> tuple[str, ...]:
        """Secret URLs, separated by commas, of places that we send to."""
        schemes = ("https://", "http://") if allow_private else ("https://",)
        urls = tuple(it.strip() for it in (self.secret(name) or "").split(",") if it.strip())
        for url in urls:
            is_inside = self._is_inside(name, url, allow_private=allow_private)
            if not is_inside and not self._is_url(url, schemes):
                self._problem(name, "not_a_url", schemes=", ".join(schemes))
        return urls

    def mail_server(self, name: str, *, allow_private: bool) -> str | None:
        """A secret smtp:// or smtps:// URL."""
        url, schemes = self.secret(name), ("smtp://", "smtps://")
        if url and not self._is_url(url, schemes):
            self._problem(name, "not_a_url", schemes=", ".join(schemes))
        elif url:
            self._is_inside(name, url, allow_private=allow_private)
        return url

    def mail_addresses(self, name: str) -> tuple[str, ...]:
        """E-mail addresses, separated by commas."""
        addresses = tuple(it.strip() for it in self._raw(name).split(",") if it.strip())
        if not all(map(_MAIL_ADDRESS.fullmatch, addresses)):
            self._problem(name, "not_mail_addresses")
        return addresses

    def require_with(self, name: str, *, present: object, other: str) -> None:
        """Say that ``name`` is needed since ``other`` is set, unless it is ``present``."""
        if not present:
            self._problem(name, "needed_with", other=other)

    def _is_inside(self, name: str, url: str, *, allow_private: bool) -> bool:
        """Tell, and complain, whether ``url`` writes out an address that is not to be sent to."""
        try:
            address = literal_address(urlsplit(url).hostname or "")
        except ValueError:
            return False
        if address is None or may_send_to(address, allow_private=allow_private):
            return False
        self._problem(name, "private_address")
        return True

    def secret(self, name: str) -> str | None:
        """NAME, or the content of the file that NAME_FILE points at; never both."""
        direct, path = self._raw(name), self._raw(f"{name}_FILE")
        if direct and path:
            self._problem(name, "set_twice", other=f"{name}_FILE")
        if path and not direct:
            return self._from_file(f"{name}_FILE", Path(path))
        return direct or None

    def _from_file(self, name: str, path: Path) -> str | None:
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            self._problem(name, "unreadable_file")
            return None
        if self._production and mode & stat.S_IROTH:
            self._problem(name, "public_file")
        if not value:
            self._problem(name, "empty_file")
        return value or None

    def _raw(self, name: str) -> str:
        return self._variables.get(name, "").strip()

    def _within(self, name: str, value: float, low: float, high: float) -> bool:
        if low <= value <= high:
            return True
        self._problem(name, "out_of_range", low=f"{low:g}", high=f"{high:g}")
        return False

    @staticmethod
    def _is_network(value: str) -> bool:
        try:
            # Strict, as gunicorn is: 192.168.1.1/24 is somebody's mistake.
            ip_network(value)
        except ValueError:
            return False
        return True

    @staticmethod
    def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
        try:
            parts = urlsplit(value)
            # Reading the port checks it. Databases' URLs have forms that need neither.
            has_place = parts.scheme not in ("http", "https", "smtp", "smtps") or (
                parts.hostname and parts.port != 0
            )
            return value.startswith(schemes) and bool(has_place)
        except ValueError:
            return False

    def _problem(self, name: str, code: str, **values: object) -> None:
        self.problems.append(Problem(name, code, values))
