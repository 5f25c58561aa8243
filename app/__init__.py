"""IA SOLARIS Proxy: the door between a company's people and its AI models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.serving.flask_app import SolarisFlask


def create_app(settings: Settings | None = None) -> SolarisFlask:
    """Assemble an application; without ``settings`` they are read from the environment.

    Opens no connection. Raises: ConfigurationError, when the settings cannot be used.
    """
    # Imported here, so that `import app.version` and the command line's help cost nothing.
    from app import errors, extensions, request_log
    from app.config.settings import load_settings
    from app.routes import register_blueprints
    from app.serving.flask_app import SolarisFlask

    settings = settings or load_settings()
    app = SolarisFlask(__name__)
    app.config.update(
        SECRET_KEY=settings.security.secret_key,
        MAX_CONTENT_LENGTH=settings.server.max_body_bytes,
        SESSION_COOKIE_SECURE=settings.is_production,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_NAME="solaris_session",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    extensions.init_app(app, settings)
    errors.init_app(app)
    request_log.init_app(app)
    register_blueprints(app)
    return app
