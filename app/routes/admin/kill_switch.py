"""The kill switch: calls refused at once, everybody's, a team's, a person's, or to a model."""

from __future__ import annotations

from typing import Any

from app.extensions import kill_switch
from app.routes.access import ADMINS, AUDITORS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.base import page, page_of
from app.schemas.kill_switches import KillSwitchQuery, KillSwitchSchema, NewKillSwitchSchema
from app.services.kill_switch_store import KillSwitch

kill_switch_bp = AdminBlueprint("killswitch", __name__, "/killswitch", "Kill switches")


@kill_switch_bp.get("")
@requires_role(*AUDITORS)
@kill_switch_bp.query(KillSwitchQuery)
@errors(422)
@kill_switch_bp.answers(200, page_of(KillSwitchSchema))
def list_kill_switches(query: dict[str, Any]) -> dict[str, Any]:
    """Kill switches that are thrown, or all of them; the latest first"""
    (before,) = query.pop("cursor") or (None,)
    found, last = kill_switch.page(query["limit"], past=query["past"], before=before)
    return page(found, (last,) if last else None)


@kill_switch_bp.post("")
@requires_role(*ADMINS)
@kill_switch_bp.body(NewKillSwitchSchema)
@errors(400, 422)
@kill_switch_bp.answers(201, KillSwitchSchema)
def throw_kill_switch(body: dict[str, Any]) -> KillSwitch:
    """Refuse calls; every worker obeys within 2 seconds, and ends streams under way

    One that stands for the same scope and subject is replaced.
    """
    return kill_switch.throw(**body)


@kill_switch_bp.delete("/<number:switch_id>")
@requires_role(*ADMINS)
@errors(404)
@kill_switch_bp.answers(200, KillSwitchSchema)
def lift_kill_switch(switch_id: int) -> KillSwitch:
    """Let calls pass again; every worker obeys within 2 seconds"""
    return kill_switch.lift(switch_id)
