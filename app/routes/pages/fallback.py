"""Models, how they do, and what would become of a call."""

from __future__ import annotations

from flask import current_app, request

from app.extensions import catalog, overview, simulation
from app.routes.access import READERS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.shell import admin_pages, render
from app.schemas.fallback import SimulationQuery


@admin_pages.get("/models")
@requires_session(*READERS)
def list_models() -> str:
    """Every model with its health, the reason and since when; and a simulation of a call"""
    simulated = None
    if request.args.get("model"):
        said = {name: it.strip() for name, it in request.args.items() if it.strip()}
        said["down"] = ",".join(request.args.getlist("down"))
        asked = forms.load(SimulationQuery(), {it: said.get(it) or None for it in said})
        simulated = current_app.ensure_sync(simulation.simulate)(asked.pop("model"), **asked)
    return render(
        "admin/models.html",
        models=overview.models(),
        names=list(catalog.names()),
        down=request.args.getlist("down"),
        simulated=simulated,
    )
