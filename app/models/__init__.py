"""The tables. Rows only: no rule lives here."""

from app.models.alert_outbox import AlertChannelRow, AlertDeliveryRow, AlertMessageRow
from app.models.alerts import AlertCountRow, AlertLookRow, AlertRow, AlertSignalRow
from app.models.audit import (
    AuditCheckpointRow,
    AuditContentRow,
    AuditDropRow,
    AuditEventRow,
    AuditNameRow,
    ClosedMonthRow,
    ClosedUsageRow,
    LegalHoldRow,
    TrailVerificationRow,
    UsageDayRow,
    UsageMonthRow,
)
from app.models.base import Base
from app.models.keys import ApiKey
from app.models.kill_switches import KillSwitchRow
from app.models.ledger import (
    BudgetRow,
    CallsUnderWayRow,
    HoldRow,
    LineRow,
    RaiseRequestRow,
    RaiseRow,
)
from app.models.litellm_events import LiteLLMEventRow
from app.models.pages import PageSessionRow, SignInFailureRow, SignInLinkRow
from app.models.people import Team, User
from app.models.reconciliation import ReconciliationRow

__all__ = [
    "AlertChannelRow",
    "AlertCountRow",
    "AlertDeliveryRow",
    "AlertLookRow",
    "AlertMessageRow",
    "AlertRow",
    "AlertSignalRow",
    "ApiKey",
    "AuditCheckpointRow",
    "AuditContentRow",
    "AuditDropRow",
    "AuditEventRow",
    "AuditNameRow",
    "Base",
    "BudgetRow",
    "CallsUnderWayRow",
    "ClosedMonthRow",
    "ClosedUsageRow",
    "HoldRow",
    "KillSwitchRow",
    "LegalHoldRow",
    "LineRow",
    "LiteLLMEventRow",
    "PageSessionRow",
    "RaiseRequestRow",
    "RaiseRow",
    "ReconciliationRow",
    "SignInFailureRow",
    "SignInLinkRow",
    "Team",
    "TrailVerificationRow",
    "UsageDayRow",
    "UsageMonthRow",
    "User",
]
