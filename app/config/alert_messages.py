"""What administrators read in an alert, in both languages. Plain text: each channel escapes it.

A title of one line, a sentence or two, the figures, and what to do; `alert_words.py` fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleText:
    """Of one rule: the name, the title while it lasts, what goes on, its end, what to do."""

    name: str
    title: str
    lasts: str
    ended: str
    advice: str
    # Which facts are listed below the sentence.
    rows: tuple[str, ...]


_CALLS = ("model", "count", "window_s", "reason")
_BUDGET = ("budget", "used", "limit", "renews_at")
_ROWS: dict[str, tuple[str, ...]] = {
    "model_errors": _CALLS,
    "model_fallbacks": _CALLS,
    "rate_limit": ("model", "limit_type", "current_usage", "limit", "count", "window_s"),
    "budget_threshold": (*_BUDGET, "percent"),
    "budget_forecast": (*_BUDGET, "runs_out_on"),
    "breaker": ("model", "reason"),
    "litellm_away": ("reason",),
    "audit_verification": ("findings", "first_seq"),
    "spool_growing": ("waiting_bytes",),
    "reconciliation": (
        "day",
        "missing_here",
        "missing_there",
        "differing",
        "difference_micro_usd",
    ),
    "security_incident": ("what", "count", "window_s"),
}

# name, title, while it lasts, when it has ended, what to do
_RULE_TEXTS: dict[str, dict[str, tuple[str, str, str, str, str]]] = {
    "pt_BR": {
        "model_errors": (
            "Erros de modelo",
            "Erros no modelo {model}",
            "Chamadas ao modelo {model} que falharam em {window_s}: {count}. "
            "Motivo mais frequente: {reason}.",
            "O modelo {model} voltou a responder sem erros em excesso.",
            "Veja o estado do provedor e a chave dele no LiteLLM. As chamadas seguem para os "
            "modelos de reserva enquanto houver.",
        ),
        "model_fallbacks": (
            "Chamadas desviadas",
            "Chamadas desviadas do modelo {model}",
            "Chamadas ao modelo {model} que outro modelo atendeu em {window_s}: {count}. "
            "Motivo mais frequente: {reason}.",
            "O modelo {model} volta a atender as próprias chamadas.",
            "O modelo de reserva pode custar mais ou responder de outro jeito: veja por que "
            "{model} falha.",
        ),
        "rate_limit": (
            "Limite atingido",
            "Limite atingido no modelo {model}",
            "O limite de {limit_type} do modelo {model} foi atingido: {current_usage} de {limit}. "
            "Vezes em {window_s}: {count}.",
            "O modelo {model} está de novo abaixo do limite de {limit_type}.",
            "Se for frequente, peça ao provedor um limite maior ou reparta as chamadas entre "
            "modelos.",
        ),
        "budget_threshold": (
            "Orçamento usado",
            "{budget}: {percent} usado",
            "Usados {used} de {limit} ({period}). Renova em {renews_at}.",
            "O orçamento voltou a ter folga: usados {used} de {limit} ({period}).",
            "Quando acabar, as chamadas serão recusadas até renovar. Para mudar o limite: "
            "solaris budgets set",
        ),
        "budget_forecast": (
            "Previsão de orçamento",
            "{budget}: deve acabar em {runs_out_on}",
            "No ritmo atual o orçamento acaba em {runs_out_on} e só renova em {renews_at}. Usados "
            "{used} de {limit} ({period}).",
            "No ritmo atual o orçamento dura até renovar, em {renews_at}.",
            "Veja quem usa mais: solaris usage --by user,model",
        ),
        "breaker": (
            "Modelo fora de uso",
            "Modelo {model} fora de uso",
            "Depois de falhas seguidas ({reason}), o modelo {model} não recebe chamadas. Uma "
            "chamada real o testa de novo daqui a pouco.",
            "O modelo {model} voltou a receber chamadas.",
            "Veja o estado do provedor e a chave dele no LiteLLM.",
        ),
        "litellm_away": (
            "LiteLLM não responde",
            "O LiteLLM não responde",
            "O LiteLLM não responde ({reason}); nenhuma chamada a modelos é atendida.",
            "O LiteLLM responde de novo.",
            "Verifique o processo do LiteLLM e LITELLM_BASE_URL.",
        ),
        "audit_verification": (
            "Trilha de auditoria",
            "A trilha de auditoria não confere",
            "A verificação encontrou divergências ({findings}); a primeira está na linha "
            "{first_seq}.",
            "A trilha de auditoria confere de novo.",
            "Não altere nada antes de guardar uma cópia do banco. Para ver o que houve: "
            "solaris audit verify",
        ),
        "spool_growing": (
            "Eventos à espera",
            "Eventos de auditoria esperam no disco",
            "Esperam no disco para ir ao Postgres: {waiting_bytes}.",
            "Os eventos que esperavam no disco já estão no Postgres.",
            "Verifique o Postgres e o espaço em SPOOL_DIR. Nada se perde enquanto houver disco.",
        ),
        "reconciliation": (
            "Conciliação",
            "As contas de {day} divergem das do LiteLLM",
            "Só no LiteLLM: {missing_here}. Só aqui: {missing_there}. Com valor diferente: "
            "{differing}. Diferença ao todo: {difference_micro_usd}.",
            "As contas de {day} conferem com as do LiteLLM.",
            "Para ver cada diferença: solaris reconcile --day {day_iso}",
        ),
        "security_incident": (
            "Incidente de segurança",
            "Incidente de segurança: {what}",
            "Ocorrências em {window_s}: {count}.",
            "Não houve novas ocorrências.",
            "Se dados pessoais podem ter sido expostos, a comunicação à ANPD é devida em 3 dias "
            "úteis (Res. CD/ANPD 15/2024).",
        ),
        "digest": (
            "Resumo",
            "Resumo: outros avisos ({total})",
            "Além do que já foi avisado, houve:",
            "",
            "",
        ),
        "test": (
            "Teste",
            "Teste dos alertas",
            "Os alertas do IA SOLARIS chegam por aqui. Nada aconteceu.",
            "",
            "",
        ),
        "": ("Aviso", "Aviso: {rule} {subject}", "", "", ""),
    },
    "en": {
        "model_errors": (
            "Model errors",
            "Errors of the model {model}",
            "Calls to the model {model} that failed within {window_s}: {count}. "
            "Most frequent reason: {reason}.",
            "The model {model} answers again without undue errors.",
            "Look at the provider's state, and at its key in LiteLLM. Calls go to the fallback "
            "models as long as there are any.",
        ),
        "model_fallbacks": (
            "Fallbacks",
            "Calls fall back from the model {model}",
            "Calls to the model {model} that another model answered within {window_s}: {count}. "
            "Most frequent reason: {reason}.",
            "The model {model} answers its own calls again.",
            "The fallback may cost more or answer differently: see why {model} fails.",
        ),
        "rate_limit": (
            "Limit reached",
            "Limit reached on the model {model}",
            "The limit of {limit_type} of the model {model} was reached: {current_usage} of "
            "{limit}. Times within {window_s}: {count}.",
            "The model {model} is below its limit of {limit_type} again.",
            "If it happens often, ask the provider for a higher limit, or spread the calls over "
            "models.",
        ),
        "budget_threshold": (
            "Budget used",
            "{budget}: {percent} used",
            "Used: {used} of {limit} ({period}). It renews on {renews_at}.",
            "The budget has room again: {used} of {limit} used ({period}).",
            "When it is used up, calls are refused until it renews. To change the limit: "
            "solaris budgets set",
        ),
        "budget_forecast": (
            "Budget forecast",
            "{budget}: likely to run out on {runs_out_on}",
            "At this pace the budget runs out on {runs_out_on}, and renews only on {renews_at}. "
            "Used: {used} of {limit} ({period}).",
            "At this pace the budget lasts until it renews, on {renews_at}.",
            "See who uses most: solaris usage --by user,model",
        ),
        "breaker": (
            "Model out of use",
            "The model {model} is out of use",
            "After failures in a row ({reason}) the model {model} gets no calls. A real call tries "
            "it again shortly.",
            "The model {model} gets calls again.",
            "Look at the provider's state, and at its key in LiteLLM.",
        ),
        "litellm_away": (
            "LiteLLM away",
            "LiteLLM does not answer",
            "LiteLLM does not answer ({reason}); no call to a model is served.",
            "LiteLLM answers again.",
            "Check LiteLLM's process, and LITELLM_BASE_URL.",
        ),
        "audit_verification": (
            "Audit trail",
            "The audit trail does not verify",
            "The verification found differences ({findings}), the first of them in row "
            "{first_seq}.",
            "The audit trail verifies again.",
            "Change nothing before you have a copy of the database. To see what happened: "
            "solaris audit verify",
        ),
        "spool_growing": (
            "Events waiting",
            "Audit events are waiting on disk",
            "Waiting on disk for Postgres: {waiting_bytes}.",
            "The events that were waiting on disk are in Postgres.",
            "Check Postgres, and the room in SPOOL_DIR. Nothing is lost while there is disk.",
        ),
        "reconciliation": (
            "Reconciliation",
            "The accounts of {day} differ from LiteLLM's",
            "Only at LiteLLM: {missing_here}. Only here: {missing_there}. With another amount: "
            "{differing}. Difference in all: {difference_micro_usd}.",
            "The accounts of {day} agree with LiteLLM's.",
            "To see each difference: solaris reconcile --day {day_iso}",
        ),
        "security_incident": (
            "Security incident",
            "Security incident: {what}",
            "Times within {window_s}: {count}.",
            "It has not happened again.",
            "If personal data may be exposed, the ANPD must be told within 3 business days "
            "(Res. CD/ANPD 15/2024).",
        ),
        "digest": (
            "Digest",
            "Digest: other notices ({total})",
            "Besides what was told already, there was:",
            "",
            "",
        ),
        "test": (
            "Test",
            "Test of the alerts",
            "IA SOLARIS's alerts arrive here. Nothing has happened.",
            "",
            "",
        ),
        "": ("Notice", "Notice: {rule} {subject}", "", "", ""),
    },
}
RULES = {
    locale: {rule: RuleText(*texts, _ROWS.get(rule, ())) for rule, texts in rules.items()}
    for locale, rules in _RULE_TEXTS.items()
}

LABELS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "severity": "Gravidade",
        "at": "Quando",
        "model": "Modelo",
        "count": "Ocorrências",
        "window_s": "Em",
        "reason": "Motivo",
        "limit_type": "Limite de",
        "current_usage": "Uso",
        "limit": "Limite",
        "budget": "Orçamento",
        "used": "Usado",
        "percent": "Parte usada",
        "renews_at": "Renova",
        "runs_out_on": "Acaba",
        "findings": "Divergências",
        "first_seq": "Primeira linha",
        "waiting_bytes": "À espera",
        "day": "Dia",
        "missing_here": "Só no LiteLLM",
        "missing_there": "Só aqui",
        "differing": "Valor diferente",
        "difference_micro_usd": "Diferença",
        "what": "O que houve",
        "open": "Abrir o painel",
        "more": "e mais {count}",
    },
    "en": {
        "severity": "Severity",
        "at": "When",
        "model": "Model",
        "count": "Times",
        "window_s": "Within",
        "reason": "Reason",
        "limit_type": "Limit of",
        "current_usage": "Usage",
        "limit": "Limit",
        "budget": "Budget",
        "used": "Used",
        "percent": "Part used",
        "renews_at": "Renews",
        "runs_out_on": "Runs out",
        "findings": "Differences",
        "first_seq": "First row",
        "waiting_bytes": "Waiting",
        "day": "Day",
        "missing_here": "Only at LiteLLM",
        "missing_there": "Only here",
        "differing": "Other amount",
        "difference_micro_usd": "Difference",
        "what": "What happened",
        "open": "Open the dashboard",
        "more": "and {count} more",
    },
}

# Before the title, by kind; what resolves has no severity any more.
KINDS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "opened": "{severity}: {title}",
        "repeated": "{severity}, continua: {title}",
        "escalated": "{severity}, agravou-se: {title}",
        "resolved": "Resolvido: {title}",
        "digest": "{title}",
        "test": "{title}",
    },
    "en": {
        "opened": "{severity}: {title}",
        "repeated": "{severity}, still: {title}",
        "escalated": "{severity}, worse: {title}",
        "resolved": "Resolved: {title}",
        "digest": "{title}",
        "test": "{title}",
    },
}

# Codes in facts, as people say them; a code that is not here is shown as it is.
CODES: dict[str, dict[str, dict[str, str]]] = {
    "pt_BR": {
        "severity": {"info": "Informação", "warning": "Aviso", "critical": "Crítico"},
        "reason": {
            "upstream_timeout": "demora demais",
            "upstream_unavailable": "indisponível",
            "upstream_error": "erro do provedor",
            "rate_limit_exceeded": "limite do provedor",
            "rate_limited": "limite do provedor",
            "misconfigured": "chave ou nome errado na configuração",
            "litellm_unreachable": "sem conexão com o LiteLLM",
            "breaker_open": "fora de uso depois de falhas",
        },
        "limit_type": {
            "rpm": "pedidos por minuto",
            "tpm": "tokens por minuto",
            "budget": "gasto",
            "parallel": "pedidos simultâneos",
        },
        "what": {
            "webhook_refused": "eventos com assinatura inválida",
            "unauthorized": "chamadas com chaves inválidas",
            "audit_verified": "a trilha de auditoria não confere",
        },
        "period": {
            "minute": "por minuto",
            "hour": "por hora",
            "day": "por dia",
            "week": "por semana",
            "month": "por mês",
        },
        "scope": {
            "global": "Orçamento da empresa",
            "team": "Orçamento da equipe {subject}",
            "user": "Orçamento da pessoa {subject}",
            "key": "Orçamento da chave {subject}",
            "model": "Orçamento do modelo {subject}",
        },
    },
    "en": {
        "severity": {"info": "Information", "warning": "Warning", "critical": "Critical"},
        "reason": {
            "upstream_timeout": "takes too long",
            "upstream_unavailable": "unavailable",
            "upstream_error": "the provider's error",
            "rate_limit_exceeded": "the provider's limit",
            "rate_limited": "the provider's limit",
            "misconfigured": "a wrong key or name in the configuration",
            "litellm_unreachable": "no connection to LiteLLM",
            "breaker_open": "out of use after failures",
        },
        "limit_type": {
            "rpm": "requests a minute",
            "tpm": "tokens a minute",
            "budget": "spending",
            "parallel": "requests at once",
        },
        "what": {
            "webhook_refused": "events with a wrong signature",
            "unauthorized": "calls with invalid keys",
            "audit_verified": "the audit trail does not verify",
        },
        "period": {
            "minute": "a minute",
            "hour": "an hour",
            "day": "a day",
            "week": "a week",
            "month": "a month",
        },
        "scope": {
            "global": "The company's budget",
            "team": "The budget of the team {subject}",
            "user": "The budget of the person {subject}",
            "key": "The budget of the key {subject}",
            "model": "The budget of the model {subject}",
        },
    },
}

# From the largest; the first that divides is taken.
SPANS = {
    "pt_BR": ((86_400, "dia", "dias"), (3600, "hora", "horas"), (60, "minuto", "minutos")),
    "en": ((86_400, "day", "days"), (3600, "hour", "hours"), (60, "minute", "minutes")),
}
