"""Every page that there is to look at, by its name."""

from __future__ import annotations

import httpx2 as httpx

from tests.conftest import ADMIN_KEY
from tests.pages.conftest import Site
from tests.waiting import wait_until

PAGES = {
    "home": "/admin/",
    "alerts": "/admin/alerts?past=true",
    "models": "/admin/models?model=gpt-4o&down=gpt-4o",
    "people": "/admin/people",
    "person": "/admin/people/carla",
    "teams": "/admin/teams",
    "team": "/admin/teams/vendas",
    "budgets": "/admin/budgets?mode=shadow",
    "budget": "/admin/budgets/{budget}",
    "shadow": "/admin/budgets/{shadow}",
    "requests-for-more": "/admin/requests-for-more",
    "keys": "/admin/keys",
    "key": "/admin/keys/{key}",
    "requests": "/admin/requests?limit=12",
    "request": "/admin/requests/{request}",
    "refusal": "/admin/requests/{refusal}",
    "audit": "/admin/audit?limit=15",
    "verification": "/admin/audit/verification",
    "reconciliations": "/admin/reconciliation",
    "reconciliation": "/admin/reconciliation/{day}",
    "kill-switch": "/admin/kill-switch",
    "not-found": "/admin/nowhere",
}


def addresses(site: Site) -> dict[str, str]:
    """Return where each page is, once what they show is on record."""
    values: dict[str, object] = {
        "budget": site.company.anas_budget_id,
        "shadow": site.company.shadow_budget_id,
        "key": site.company.notebook_id,
        "request": _call(site, status=200, model="gpt-4o"),
        "refusal": _call(site, status=402),
        "day": site.company.reconciled_day,
    }
    return {name: address.format(**values) for name, address in PAGES.items()}


def ask(site: Site, path: str, method: str = "GET") -> httpx.Response:
    """Ask the API as the administrator."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.request(method, f"{site.url}/api/admin{path}", headers=headers, timeout=30)


def _call(site: Site, status: int, model: str = "") -> str:
    path = f"/audit?status={status}" + (f"&model={model}" if model else "")
    wait_until(lambda: ask(site, path).json()["data"] != [], 10)
    return str(ask(site, path).json()["data"][0]["request_id"])
