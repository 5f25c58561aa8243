"""What would become of a call: which model answers it, and why the others do not."""

from __future__ import annotations

from typing import Any

from app.extensions import simulation
from app.routes.access import READERS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.fallback import SimulationQuery, SimulationSchema
from app.services.fallback_simulation import Simulated

fallback_bp = AdminBlueprint("fallback", __name__, "/fallback", "Fallback")


@fallback_bp.get("/simulate")
@requires_role(*READERS)
@fallback_bp.query(SimulationQuery)
@errors(422)
@fallback_bp.answers(200, SimulationSchema)
async def simulate_fallback(query: dict[str, Any]) -> Simulated:
    """What would become of a call now, with the models' live health; costs nothing

    Limits by the minute are left out.
    """
    return await simulation.simulate(query.pop("model"), **query)
