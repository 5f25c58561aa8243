"""The pages: `/admin/` for administrators, auditors and viewers, `/me` for everyone.

Each view says who may see it, reads its query or form by a schema of `/api/admin`, calls one
service, and renders a template. What every page has in common:

* `guard`: who is signed in, and what goes on record as theirs
* `forms`: what a form says, and what becomes of one that was refused
* `present`: figures, money and moments as the reader's language writes them
* `words`: what codes are called
* `charts`: where the bars are
* `shell`: the frame around a page, its headers, and errors as pages
"""

from __future__ import annotations

from flask import Flask

from app.routes.pages import (
    alerts,
    audit,
    budgets,
    fallback,
    home,
    keys,
    kill_switch,
    me,
    oidc,
    people,
    reconciliation,
    requests,
    sign_in,
)
from app.routes.pages.shell import admin_pages, init_shell, me_pages

# Each adds its views to one of the two blueprints.
PARTS = (
    sign_in,
    home,
    people,
    budgets,
    keys,
    requests,
    alerts,
    audit,
    reconciliation,
    fallback,
    kill_switch,
    me,
    oidc,
)


def register_pages(app: Flask) -> None:
    init_shell(app)
    oidc.init_app(app)
    app.register_blueprint(admin_pages)
    app.register_blueprint(me_pages)
