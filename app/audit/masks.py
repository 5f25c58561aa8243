"""What identifies a person or opens a door is masked before a text is stored.

Numbers that anything might be (bare digits) count only with the right check digits; those in the
form that only a CPF or CNPJ has count in any case: a mistyped one is still somebody's.

Every pattern is of bounded length or takes what it has read for good (possessive), so that time is
linear. Those of numbers begin with the sign itself and look behind it, which `re` finds quickest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

IsValid = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Mask:
    text: str
    pattern: re.Pattern[str]
    is_valid: IsValid = bool
    # No match without this, which is quicker to look for.
    hint: re.Pattern[str] | None = None


def masked(text: str) -> str:
    """Return ``text`` with `[CPF]`, `[E-MAIL]`, … in place of what was there."""
    for mask in _MASKS:
        if mask.hint is None or mask.hint.search(text):
            text = _replaced(text, mask)
    return text


def _replaced(text: str, mask: _Mask) -> str:
    parts, done, start = [], 0, 0
    while match := mask.pattern.search(text, start):
        if mask.is_valid(match[0]):
            parts += [text[done : match.start()], mask.text]
            done = start = match.end()
        else:
            # What is one may begin inside what is none.
            start = match.start() + 1
    return "".join([*parts, text[done:]])


def is_cpf(text: str) -> bool:
    """Tell whether the digits are those of a CPF."""
    digits = _digits(text)
    return len(set(digits)) > 1 and all(
        digits[end] == _check_digit(digits[:end], range(end + 1, 1, -1)) for end in (9, 10)
    )


def is_cnpj(text: str) -> bool:
    """Tell whether it is a CNPJ, with letters too (IN RFB 2.229/2024: a letter counts as its ASCII
    code less 48)."""
    values = [int(it) if it.isdecimal() else ord(it) - 48 for it in text if it.isalnum()]
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    return len(set(values)) > 1 and all(
        values[end] == _check_digit(values[:end], weights[-end:]) for end in (12, 13)
    )


def is_card(text: str) -> bool:
    """Tell whether the digits are those of a payment card (Luhn's check)."""
    digits = _digits(text)[::-1]
    doubled = (sum(divmod(2 * it, 10)) for it in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _digits(text: str) -> list[int]:
    return [int(it) for it in text if it.isdecimal()]


def _check_digit(values: Iterable[int], weights: Iterable[int]) -> int:
    rest = sum(value * weight for value, weight in zip(values, weights, strict=True)) % 11
    return 0 if rest < 2 else 11 - rest


def _has_digit_or_is_long(text: str) -> bool:
    """Tell a secret from a word."""
    return len(text) >= 24 or any(map(str.isdecimal, text))


def _is_cpf_or_written_so(text: str) -> bool:
    return _signs(text) == "..-" or is_cpf(text)


def _is_cnpj_or_written_so(text: str) -> bool:
    return _signs(text) == "../-" or is_cnpj(text)


def _signs(text: str) -> str:
    return "".join(it for it in text if not it.isalnum())


def _alone(rest: str, first: str = r"\d", beside: str = r"\d") -> re.Pattern[str]:
    """Return the pattern of ``first`` and ``rest`` with no digit beside them."""
    return re.compile(f"{first}(?<!{beside}{first}){rest}(?!{beside})")


_SPACE = r"[ \u00a0]"
_GAP = r"[ \u00a0.-]"
_OR_NO_GAP = f"{_GAP}?"
# Area codes have no zero.
_AREA = r"(?:\(0?[1-9][1-9]\)|0?[1-9][1-9])"
_COUNTRY = rf"(?:(?:\+|00)?55{_GAP}?)?"

_KEYS = (
    # Ours, LiteLLM's, OpenAI's, Anthropic's, DeepSeek's, …
    r"sk-[\w-]{8,}+",
    r"(?:xai|gsk|pplx|r8|hf|npm|whsec|rk_live|rk_test|sk_live|sk_test)[-_][\w-]{16,}+",
    r"AIza[\w-]{30,}+",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"gh[pousr]_[A-Za-z0-9]{20,}+",
    r"(?:github_pat_|glpat-)[\w-]{16,}+",
    r"xox[a-z]-[A-Za-z0-9-]{8,}+",
    r"APP_USR-[A-Za-z0-9-]{16,}+",
    r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]++)?",
)
_KEY_STARTS = (
    "sk-|xai|gsk|pplx|r8|hf|npm|whsec|rk_|sk_|AIza|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox|"
    "APP_USR-|eyJ"
)


def _cnpj_form(sign: str) -> str:
    groups = (sign, f"{sign}{{3}}", f"{sign}{{3}}[ /.-]?{sign}{{4}}", r"\d\d")
    return _OR_NO_GAP.join(groups)


# In this order: what holds a number of another kind comes before it.
_MASKS = (
    _Mask(
        "[CHAVE]",
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*+"
            r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
        ),
        hint=re.compile("PRIVATE KEY"),
    ),
    _Mask(
        "[CHAVE]",
        re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_KEYS)})"),
        _has_digit_or_is_long,
        hint=re.compile(rf"(?:{_KEY_STARTS})[\w-]{{8}}"),
    ),
    _Mask(
        "Bearer [TOKEN]",
        re.compile(r"(?i)(?<!\w)bearer\s{1,4}(?!\[)[\w.~+/=-]{8,}+"),
        _has_digit_or_is_long,
        hint=re.compile("(?i)bearer"),
    ),
    _Mask(
        "[E-MAIL]",
        # With all that is written to its end: another one after it begins with a clean start.
        re.compile(
            r"(?<![\w.+-])[\w.+-]++(?:@|%40)(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?:[.+-]*+\w++)*+"
        ),
        hint=re.compile("@|%40"),
    ),
    _Mask("[CNPJ]", _alone(_cnpj_form(r"\d")), _is_cnpj_or_written_so),
    _Mask(
        "[CNPJ]",
        _alone(_cnpj_form(r"[A-Z\d]"), r"[A-Z\d]", r"[A-Z\d]"),
        _is_cnpj_or_written_so,
    ),
    # The longest first: what follows a card may look like its end.
    *(
        _Mask("[CARTÃO]", pattern, is_card)
        for pattern in (
            _alone(rf"\d{{3}}({_GAP})\d{{4}}\1\d{{4}}\1\d{{4}}\1\d{{3}}"),
            _alone(rf"\d{{3}}({_GAP})\d{{4}}\1\d{{4}}\1\d{{4}}"),
            _alone(rf"\d{{3}}({_GAP})\d{{6}}\1\d{{4,5}}", "3"),
            _alone(r"\d{12,18}"),
        )
    ),
    _Mask(
        "[CPF]",
        _alone(_OR_NO_GAP.join((r"\d\d", r"\d{3}", r"\d{3}[ \u00a0./-]?\d\d"))),
        _is_cpf_or_written_so,
    ),
    # Mobile numbers have nine digits, the first a nine; others eight, and count with signs only.
    _Mask(
        "[TELEFONE]",
        re.compile(rf"(?<![\d+]){_COUNTRY}{_AREA}{_GAP}?9{_SPACE}?\d{{4}}{_GAP}?\d{{4}}(?!\d)"),
        hint=re.compile(rf"9{_SPACE}?\d{{4}}{_GAP}?\d{{4}}"),
    ),
    _Mask(
        "[TELEFONE]",
        re.compile(
            rf"(?<![\d+]){_COUNTRY}(?:{_AREA}{_GAP}?[2-5]\d{{3}}[ \u00a0-]\d{{4}}"
            rf"|\(0?[1-9][1-9]\){_SPACE}?[2-5]\d{{7}})(?!\d)"
        ),
        hint=re.compile(r"[2-5]\d{3}[ \u00a0-]?\d{4}"),
    ),
    _Mask("[TELEFONE]", _alone(r"\d{4}-\d{4}", "9")),
    # Of any country, in the one form that says so.
    _Mask("[TELEFONE]", re.compile(r"(?<!\w)\+[1-9]\d{9,14}(?!\d)"), hint=re.compile(r"\+\d")),
)
