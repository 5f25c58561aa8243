"""The addresses: each view authenticates, parses, calls one service, and serialises."""

from __future__ import annotations

from flask import Flask


def register_blueprints(app: Flask) -> None:
    from app.routes.admin import register_admin
    from app.routes.health_routes import health_bp
    from app.routes.metrics_routes import metrics_bp
    from app.routes.pages import register_pages
    from app.routes.proxy_routes import proxy_bp
    from app.routes.sign_in_links import sign_in_links_bp
    from app.routes.webhook_routes import webhook_bp

    for blueprint in (proxy_bp, webhook_bp, health_bp, metrics_bp, sign_in_links_bp):
        app.register_blueprint(blueprint)
    register_admin(app)
    # After it: the addresses of pages have parts of its kinds.
    register_pages(app)
