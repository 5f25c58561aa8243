"""`deploy/librechat.yaml` and `docs/clients*.md` say what the proxy really knows and answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from app.config.catalog import load_catalog
from app.config.messages import message_for
from app.config.settings import MAX_BODY_BYTES, PROJECT_ROOT, LiteLLMSettings
from app.services.identity import PERSON_HEADERS
from app.utils.exceptions import ADMINISTRATION, SolarisError

DOCUMENTS = {"en": "docs/clients.md", "pt_BR": "docs/clients.pt-BR.md"}
SECOND_ENDPOINT = '    # - name: "SOLARIS Claude"'
# Errors of webhooks and of the pages, whose readers are no clients.
ELSEWHERE = {"invalid_signature", "sign_in_refused"}
# Flask's own, which are not of our tree.
OF_ADDRESSES = {"not_found": 404, "method_not_allowed": 405}
EXAMPLES = {
    "model": "gpt-9",
    "detail": "…",
    "request_id": "01a2…",
    "limit_mb": MAX_BODY_BYTES // (1024 * 1024),
    "reason": "…",
}


def endpoints() -> list[dict[str, Any]]:
    """Return LibreChat's endpoints, the one that is commented out included."""
    shipped = (PROJECT_ROOT / "deploy/librechat.yaml").read_text()
    before, mark, after = shipped.partition(SECOND_ENDPOINT)
    uncommented = before + re.sub(r"^    # ?", "    ", mark + after, flags=re.MULTILINE)
    return list(yaml.safe_load(uncommented)["endpoints"]["custom"])


def tree_of(root: type[SolarisError]) -> Iterator[type[SolarisError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree_of(child)


def answered() -> dict[str, int]:
    """Return the status of every error code that a client may meet."""
    ours = {
        error.code: error.status
        for error in tree_of(SolarisError)
        if not issubclass(error, ADMINISTRATION)
    }
    return {code: ours[code] for code in ours.keys() - ELSEWHERE} | OF_ADDRESSES


def documented(locale: str) -> dict[str, tuple[int, str]]:
    """Return the status and the sentence of each error code in the page's table."""
    text = (PROJECT_ROOT / DOCUMENTS[locale]).read_text()
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.+?) \|", text, re.MULTILINE)
    return {code: (int(status), sentence) for status, code, sentence in rows}


def test_librechat_has_two_endpoints() -> None:
    assert [endpoint["name"] for endpoint in endpoints()] == ["SOLARIS", "SOLARIS Claude"]


def test_librechat_offers_models_of_the_catalogue() -> None:
    catalog = load_catalog(LiteLLMSettings().config_path)

    for endpoint in endpoints():
        offered = [*endpoint["models"]["default"], endpoint["titleModel"]]
        assert [name for name in offered if catalog.models[name].mode != "chat"] == []


def test_librechat_sends_headers_that_are_read() -> None:
    read = {name for names in PERSON_HEADERS.values() for name in names}

    for endpoint in endpoints():
        assert endpoint["headers"].keys() <= read


@pytest.mark.parametrize("locale", DOCUMENTS)
def test_client_page_lists_every_error_with_its_status(locale: str) -> None:
    listed = {code: status for code, (status, _) in documented(locale).items()}

    assert listed == answered()


@pytest.mark.parametrize("locale", DOCUMENTS)
def test_client_page_quotes_what_people_read(locale: str) -> None:
    for code, (_, sentence) in documented(locale).items():
        assert sentence.startswith(message_for(code, locale, **EXAMPLES))
