"""What administrators are told of, and when: every number of the alerts, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INFO, WARNING, CRITICAL = "info", "warning", "critical"
# From the least to the most.
SEVERITIES = (INFO, WARNING, CRITICAL)

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# Occurrences are counted in steps of this length; a span of time is exact to one of them.
BUCKET_S = 10
# A critical alert that nobody has acknowledged for so long is told once more.
ESCALATE_AFTER_S = 15 * MINUTE_S
# What came beyond the messages is told no more often than this, in one message for all.
DIGEST_EVERY_S = 5 * MINUTE_S
# Of one rule, at once; the rest goes into the digest: a thousand people may reach half of their
# budgets in the same minute.
MOST_MESSAGES_AT_ONCE = 10
# A breaker's alert ends, too, when its model answers so long after it opened: a worker that was
# killed never says that its breaker has closed.
WELL_AFTER_S = 10 * MINUTE_S

# Of a budget: these parts of it, in percent, and how grave that is.
THRESHOLDS = {50: INFO, 80: WARNING, 100: CRITICAL}
# Before this part of a period has passed there is no pace to speak of.
FORECAST_AFTER_PERCENT = 20
# Of what waits on disk, for each worker.
SPOOL_GROWING_BYTES = 32 * 1024 * 1024
SPOOL_AGAIN_S = 10 * MINUTE_S


@dataclass(frozen=True, slots=True)
class Rule:
    """A counted rule is one with ``within_s``: its trouble is there when more than ``more_than``
    were counted in that time. Any other's is there from when it is said until it is over."""

    name: str
    severity: str = WARNING
    more_than: int = 0
    within_s: int = 0
    # Of single subjects, where they differ.
    more_than_of: Mapping[str, int] = field(default_factory=dict)
    # In this time there is one message about a subject. Of a counted rule it is longer than
    # ``within_s``: what is still told then is still so.
    window_s: int = 15 * MINUTE_S
    # It is over when nothing of it was seen for so long; None: only when that is said.
    quiet_s: int | None = None
    escalate_after_s: int = ESCALATE_AFTER_S

    @property
    def is_counted(self) -> bool:
        return self.within_s > 0

    def most(self, subject: str) -> int:
        """Return how many are not worth a message yet."""
        return self.more_than_of.get(subject, self.more_than)


MODEL_ERRORS, MODEL_FALLBACKS, RATE_LIMIT = "model_errors", "model_fallbacks", "rate_limit"
BUDGET_THRESHOLD, BUDGET_FORECAST = "budget_threshold", "budget_forecast"
BREAKER, LITELLM_AWAY = "breaker", "litellm_away"
AUDIT_VERIFICATION, SPOOL_GROWING = "audit_verification", "spool_growing"
RECONCILIATION, SECURITY_INCIDENT = "reconciliation", "security_incident"

_ALL = (
    Rule(
        MODEL_ERRORS,
        more_than=10,
        within_s=5 * MINUTE_S,
        window_s=15 * MINUTE_S,
        quiet_s=15 * MINUTE_S,
    ),
    Rule(
        MODEL_FALLBACKS,
        more_than=5,
        within_s=10 * MINUTE_S,
        window_s=30 * MINUTE_S,
        quiet_s=30 * MINUTE_S,
    ),
    # Any at all.
    Rule(RATE_LIMIT, within_s=MINUTE_S, window_s=15 * MINUTE_S, quiet_s=15 * MINUTE_S),
    # Each threshold once a period; it is over when the budget renews.
    Rule(BUDGET_THRESHOLD, window_s=0),
    Rule(BUDGET_FORECAST, window_s=DAY_S),
    Rule(BREAKER),
    Rule(LITELLM_AWAY, CRITICAL),
    Rule(AUDIT_VERIFICATION, CRITICAL, window_s=HOUR_S),
    # Said again every `SPOOL_AGAIN_S`, as long as it is so.
    Rule(SPOOL_GROWING, window_s=HOUR_S, quiet_s=3 * SPOOL_AGAIN_S),
    Rule(RECONCILIATION, window_s=DAY_S),
    Rule(
        SECURITY_INCIDENT,
        CRITICAL,
        more_than_of={"webhook_refused": 20, "unauthorized": 100},
        within_s=5 * MINUTE_S,
        window_s=HOUR_S,
        quiet_s=HOUR_S,
    ),
)
RULES: Mapping[str, Rule] = {it.name: it for it in _ALL}
