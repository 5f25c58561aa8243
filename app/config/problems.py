"""What can be wrong with a setting or with the models' file, in the languages of people.

A problem is kept as facts and becomes a sentence when it is shown. The value itself is none of
them: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOCALES = ("pt_BR", "en")
DEFAULT_LOCALE = "pt_BR"

PROBLEMS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "not_a_choice": "deve ser um destes valores: {allowed}",
        "not_an_integer": "deve ser um número inteiro",
        "not_seconds": "deve ser um número de segundos",
        "not_a_rate": "deve ser uma taxa de câmbio maior que zero, como 5.40",
        "not_hours": "deve ser um intervalo de horas, como 22:00-07:00",
        "out_of_range": "deve estar entre {low} e {high}",
        "not_a_flag": "deve ser true ou false",
        "not_a_timezone": "deve ser o nome de um fuso horário, como America/Sao_Paulo",
        "not_a_url": "deve ser uma URL que comece com {schemes}",
        "not_networks": "deve ter endereços IP ou redes (como 10.0.0.0/8) separados por vírgulas, "
        "ou *",
        "private_address": "aponta para um endereço interno; para permitir isso, defina "
        "ALERT_ALLOW_PRIVATE=true",
        "not_mail_addresses": "deve ter endereços de e-mail separados por vírgulas",
        "needs_extra": "precisa do pacote opcional: pip install 'ia-solaris-proxy[{extra}]'",
        "needed_with": "precisa ser definida junto com {other}",
        "set_twice": "está definida junto com {other}; deixe só uma das duas",
        "unreadable_file": "aponta para um arquivo que não pode ser lido",
        "public_file": "aponta para um arquivo que todos podem ler; mude com chmod 0400",
        "empty_file": "aponta para um arquivo vazio",
        "missing": "precisa ser definida em produção "
        "(para experimentar, defina ENVIRONMENT=development)",
        "publicly_known": "tem um valor conhecido por todos; gere outro com: openssl rand -hex 32",
        "known_password": "tem uma senha conhecida por todos; use outra",
        "too_short": "tem menos de {minimum} caracteres",
        "unreadable": "não pode ser lido: {fault}",
        "not_a_mapping": "não é um mapeamento YAML",
        "named_twice": "aparece duas vezes",
        "own_fallback": "inclui o próprio modelo",
        "no_models": "está vazia",
        "not_a_price": "deve ser um número decimal",
        "odd_price": "é negativo ou mais fino que 1e-12 USD",
        "not_a_count": "deve ser um número inteiro maior que zero",
        "bad_group": "está vazio, ou seu nome já é de outro",
        "unknown_model": "cita modelo desconhecido: {names}",
        "model_of_each": "não pode ter model junto com each",
        "not_an_amount": "deve ser um valor em USD",
        "not_a_duration": "deve ser um número de segundos maior que zero",
    },
    "en": {
        "not_a_choice": "must be one of {allowed}",
        "not_an_integer": "must be a whole number",
        "not_seconds": "must be a number of seconds",
        "not_a_rate": "must be an exchange rate above zero, such as 5.40",
        "not_hours": "must be a span of hours, such as 22:00-07:00",
        "out_of_range": "must be between {low} and {high}",
        "not_a_flag": "must be true or false",
        "not_a_timezone": "must be the name of a time zone, such as America/Sao_Paulo",
        "not_a_url": "must be a URL that starts with {schemes}",
        "not_networks": "must be IP addresses or networks (such as 10.0.0.0/8), separated by "
        "commas, or *",
        "private_address": "points inside; to allow that, set ALERT_ALLOW_PRIVATE=true",
        "not_mail_addresses": "must be e-mail addresses, separated by commas",
        "needs_extra": "needs the optional package: pip install 'ia-solaris-proxy[{extra}]'",
        "needed_with": "must be set together with {other}",
        "set_twice": "is set together with {other}; keep one of them",
        "unreadable_file": "points at a file that cannot be read",
        "public_file": "points at a file that everyone may read; chmod it to 0400",
        "empty_file": "points at an empty file",
        "missing": "must be set in production (or set ENVIRONMENT=development to try things out)",
        "publicly_known": "has a publicly known value; generate one with: openssl rand -hex 32",
        "known_password": "has a publicly known password; choose another",
        "too_short": "is shorter than {minimum} characters",
        "unreadable": "cannot be read: {fault}",
        "not_a_mapping": "is not a YAML mapping",
        "named_twice": "is named twice",
        "own_fallback": "names the model itself",
        "no_models": "is empty",
        "not_a_price": "must be a decimal number",
        "odd_price": "is negative or finer than 1e-12 USD",
        "not_a_count": "must be a whole number above zero",
        "bad_group": "is empty, or its name is taken",
        "unknown_model": "names an unknown model: {names}",
        "model_of_each": "cannot have model together with each",
        "not_an_amount": "must be an amount of USD",
        "not_a_duration": "must be a number of seconds above zero",
    },
}


@dataclass(frozen=True, slots=True)
class Problem:
    """``subject`` is a variable, or a place in the models' file, such as `model_list[gpt-4]`."""

    subject: str
    code: str
    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, locale: str) -> str:
        return f"{self.subject} {PROBLEMS[locale][self.code].format(**self.values)}"

    def __str__(self) -> str:
        return self.text("en")


def locale_of(variables: Mapping[str, str]) -> str:
    """Return the language asked for by LOCALE, for whoever speaks before settings are read."""
    asked = variables.get("LOCALE", "").strip()
    return asked if asked in LOCALES else DEFAULT_LOCALE
