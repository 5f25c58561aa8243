"""Prompts of every kind, always the same: what the upper bound of a prompt is measured with."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SAMPLES = 24
SEED = 20261123

PORTUGUESE = """
A reunião de amanhã começa às nove, e ninguém pode faltar.
Você poderia resumir o contrato em três parágrafos, sem jargão?
O faturamento do trimestre cresceu 12,5% em relação ao ano anterior, principalmente no Nordeste.
Não há previsão de atraso na entrega; a transportadora já confirmou o horário.
Segue em anexo a nota fiscal referente à prestação de serviços de manutenção.
Explique, passo a passo, como se calcula a contribuição ao INSS de um autônomo.
São Paulo amanheceu com chuva, e o trânsito nas marginais ficou parado até as dez.
Escreva um e-mail cordial ao cliente, pedindo desculpas pelo ocorrido e oferecendo um desconto.
Qual é a diferença entre juros simples e compostos? Dê um exemplo com R$ 1.500,00.
O relatório está quase pronto: faltam só os gráficos e a revisão ortográfica.
""".strip().splitlines()
ENGLISH = """
The quarterly report is almost finished; only the charts and a last review are missing.
Could you summarise the attached contract in three short paragraphs, without jargon?
Revenue grew by 12.5% over last year, mostly because of the two new regions.
Explain step by step how compound interest works, with an example of $1,500.
Please write a polite message to the customer and offer them a small discount.
The train was late again, so the meeting started without half of the people.
What are the trade-offs between a queue in the database and a separate message broker?
It rained all morning, and nobody remembered where the umbrellas had been left.
Translate the following text into Portuguese, and keep the names as they are.
She had read the manual twice before she noticed that a page was missing.
""".strip().splitlines()
CJK = """
明日の会議は午前九時に始まりますので、遅れないようにお願いします。
この契約書を三つの段落に要約してください。専門用語は使わないでください。
请用三句话总结这份合同，不要使用专业术语。
本季度的营业额比去年同期增长了百分之十二点五。
내일 회의는 오전 아홉 시에 시작하니 늦지 않도록 해 주세요.
이 계약서를 세 문단으로 요약해 주세요.
複利的計算方法是什麼？請舉一個例子說明。
東京は朝から雨で、電車が少し遅れています。
""".strip().splitlines()
CODE = (
    """def total(lines: list[Line]) -> int:
    \"\"\"Return what all lines cost, in micro-USD.\"\"\"
    return sum(line.amount * line.price for line in lines if not line.is_void)
""",
    """export async function load(id: string): Promise<User | null> {
  const answer = await fetch(`/api/users/${encodeURIComponent(id)}`);
  if (!answer.ok) { return null; }
  return (await answer.json()) as User;
}
""",
    """SELECT budgets.scope, sum(posted) AS posted, count(*) FILTER (WHERE pending > 0)
FROM budget_lines JOIN budgets ON budgets.id = budget_id
WHERE window_start >= date_trunc('month', now()) GROUP BY 1 ORDER BY 2 DESC;
""",
    """func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
\tif err := s.store.Put(r.Context(), r.URL.Path); err != nil {
\t\thttp.Error(w, err.Error(), http.StatusInternalServerError)
\t}
}
""",
    """#include <stdio.h>
int main(void) {
    for (int i = 0; i < 0x10; ++i) { printf("%02x%s", i * i, i % 8 == 7 ? "\\n" : " "); }
    return 0;
}
""",
    """<ul class="menu">\n  <li><a href="/about?lang=pt-BR#team">Sobre</a></li>\n</ul>
""",
    """services:\n  proxy:\n    image: proxy:1.0\n    ports: ["8080:8080"]\n    restart: always
""",
)
EMOJI = "😀 😂 🥲 👍🏽 👩‍👩‍👧‍👦 🇧🇷 ❤️ 🚀 🎉 🧑🏿‍💻 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☕ ✅ 🔥 🤷‍♀️ 1️⃣".split()
TURNS = "oi, sim, não, ok, tudo bem?, obrigado!, e depois?, pode repetir?, 42, thanks, why?".split(
    ", "
)
# One of them becomes several in Anthropic's vocabulary, which writes them out.
WRITTEN_OUT = "ﷺ㍿㎢½ﬃ㈱Ⅷ①㌖…™ℌ𝔘"
NUMBERS = (0, 7, 42, -1, 3.14, 1e15, 1e-7, 123456789012)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One call's body, but for the model."""

    kind: str
    body: dict[str, Any]
    is_anthropic: bool = False


def prompts() -> Iterator[Prompt]:
    """Yield every prompt, in an order and with a content that never change."""
    chance = random.Random(SEED)
    for kind, make in _KINDS.items():
        for _ in range(SAMPLES):
            body = {"messages": _text("Oi"), "max_tokens": 16, **make(chance)}
            yield Prompt(kind, body, is_anthropic=kind == "numbers in objects")


def _text(content: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _of(pieces: tuple[str, ...] | list[str], most: int, between: str) -> Callable[..., Any]:
    """Return what makes a message of up to so many of these pieces."""

    def make(chance: random.Random) -> dict[str, Any]:
        return {"messages": _text(between.join(chance.choices(pieces, k=chance.randint(1, most))))}

    return make


def _random_text(chance: random.Random) -> dict[str, Any]:
    """Return letters of every script in no order, of which no vocabulary has learned a word."""
    numbers = (
        chance.choice((0x20, 0x400, 0xA000, 0x1F000)) + chance.randrange(2000) for _ in "x" * 500
    )
    return {"messages": _text("".join(filter(str.isprintable, map(chr, numbers))))}


def _turns(chance: random.Random) -> dict[str, Any]:
    roles = ("user", "assistant")
    said = [chance.choice(TURNS) for _ in range(chance.randint(1, 60))]
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]}


def _tools(chance: random.Random) -> dict[str, Any]:
    tools = [
        {"type": "function", "function": _function(chance)} for _ in range(chance.randint(1, 12))
    ]
    return {"messages": _text(chance.choice(PORTUGUESE)), "tools": tools}


def _function(chance: random.Random) -> dict[str, Any]:
    words = "id nome valor data cidade limit query path user_id is_active".split()
    names = chance.sample(words, chance.randint(0, 6))
    properties = {name: _schema(chance) for name in names}
    return {
        "name": "_".join(chance.sample(words, 2)),
        **({"description": chance.choice(ENGLISH)} if chance.random() < 0.7 else {}),
        "parameters": {"type": "object", "properties": properties, "required": names[:2]},
    }


def _schema(chance: random.Random) -> dict[str, Any]:
    return chance.choice(
        (
            {"type": "string", "description": chance.choice(ENGLISH)},
            {"type": "string", "enum": chance.sample(TURNS, 4)},
            {"type": "integer", "enum": list(range(chance.randint(1, 80)))},
            {"type": "array", "items": {"type": "number"}},
            {"type": "object", "properties": {"x": {"type": "number"}, "y": {}}},
            {"type": "boolean"},
        )
    )


def _images(chance: random.Random) -> dict[str, Any]:
    parts = [_image(chance) for _ in range(chance.randint(1, 4))]
    text = {"type": "text", "text": chance.choice(PORTUGUESE)}
    return {"messages": [{"role": "user", "content": [text, *parts]}]}


def _image(chance: random.Random) -> dict[str, Any]:
    """Return the head of a PNG, from which its size is read, and noise."""
    size = struct.pack(">LL", chance.randint(1, 4000), chance.randint(1, 4000))
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + size + chance.randbytes(3000)
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {
        "type": "image_url",
        "image_url": {"url": url, "detail": chance.choice(("low", "high"))},
    }


def _numbers(chance: random.Random) -> dict[str, Any]:
    """Return a tool's call with numbers, which LiteLLM writes otherwise than they came."""
    rows = [chance.choices(NUMBERS, k=1) * 100] * chance.randint(1, 20)
    call = {"type": "tool_use", "id": "a", "name": "plot", "input": {"rows": rows}}
    return {"messages": [*_text("Oi"), {"role": "assistant", "content": [call]}]}


_KINDS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "Portuguese": _of(PORTUGUESE, 60, " "),
    "English": _of(ENGLISH, 60, " "),
    "source code": _of(CODE, 30, "\n"),
    "Chinese, Japanese, Korean": _of(CJK, 60, "\n"),
    "emoji": _of(EMOJI, 200, ""),
    "short chat turns": _turns,
    "tool definitions": _tools,
    "pictures in base64": _images,
    "letters of all scripts": _random_text,
    "characters written out": _of(list(WRITTEN_OUT), 400, ""),
    "numbers in objects": _numbers,
}
