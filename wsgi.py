"""The application for WSGI servers and for `flask run`; production serves `app.asgi` instead."""

from app import create_app

app = create_app()
