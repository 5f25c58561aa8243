"""What `make run` shows: one line a step while it works, then what to do next."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

TEXTS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "title": "IA SOLARIS Proxy: iniciando tudo nesta máquina",
        "install": "LiteLLM: instalando em ambiente próprio (só na primeira vez, ~1 minuto)",
        "postgres": "Postgres embutido",
        "valkey": "Valkey embutido (protocolo Redis)",
        "litellm": "LiteLLM (leva alguns segundos para carregar)",
        "migrations": "Tabelas do banco",
        "proxy": "Proxy",
        "ready": "Pronto em {seconds:.1f} s. Ctrl-C encerra tudo.",
        "url_proxy": "Endereço base (base_url)",
        "url_pages": "Painel",
        "admin_key": "Chave do painel",
        "url_ready": "Situação",
        "url_litellm": "LiteLLM",
        "key": "Chave de API",
        "all_mocked": "Todos os {total} modelos respondem com texto simulado.",
        "some_mocked": "{mocked} dos {total} modelos respondem com texto simulado.",
        "how_to_unmock": "Para falar com os de verdade, defina {variables} e reinicie.",
        "try": "Experimente (em outro terminal):",
        "question": "Olá! Quem é você?",
        "librechat": "Para o LibreChat, em librechat.yaml, sob endpoints.custom "
        "(completo em deploy/librechat.yaml):",
        "librechat_docker": "LibreChat em Docker: troque 127.0.0.1 por host.docker.internal e "
        "inicie aqui com HOST=0.0.0.0 make run.",
        "trusted": "Esta chave é confiável: o que chega sem os cabeçalhos que dizem quem pede "
        "conta para {user}.",
        "cli": "Para usar o comando solaris em outro terminal:",
        "logs": "Registros",
        "stopping": "Encerrando…",
        "stopped": "Tudo encerrado.",
        "running": "Já está rodando (processo {pid}). Encerre com Ctrl-C naquele terminal.",
        "port_taken": "A porta {port} está em uso por outro programa. "
        "Escolha outra: PORT=5001 make run",
        "died": "{name} parou (código {code}). Fim do registro ({log}):",
        "slow": "{name} não respondeu em {seconds:.0f} s. Fim do registro ({log}):",
        "install_failed": "A instalação do LiteLLM falhou. O pip disse:",
        "migration_failed": "As tabelas não puderam ser criadas: {reason}",
    },
    "en": {
        "title": "IA SOLARIS Proxy: starting everything on this machine",
        "install": "LiteLLM: installing into its own environment (first time only, ~1 minute)",
        "postgres": "Embedded Postgres",
        "valkey": "Embedded Valkey (Redis protocol)",
        "litellm": "LiteLLM (takes some seconds to load)",
        "migrations": "Database tables",
        "proxy": "Proxy",
        "ready": "Ready in {seconds:.1f} s. Ctrl-C stops all of it.",
        "url_proxy": "Base address (base_url)",
        "url_pages": "Dashboard",
        "admin_key": "Key of the dashboard",
        "url_ready": "Status",
        "url_litellm": "LiteLLM",
        "key": "API key",
        "all_mocked": "All {total} models answer with a mocked text.",
        "some_mocked": "{mocked} of the {total} models answer with a mocked text.",
        "how_to_unmock": "To reach the real ones, set {variables} and start again.",
        "try": "Try it (in another terminal):",
        "question": "Hello! Who are you?",
        "librechat": "For LibreChat, in librechat.yaml under endpoints.custom "
        "(all of it in deploy/librechat.yaml):",
        "librechat_docker": "LibreChat in Docker: write host.docker.internal instead of "
        "127.0.0.1, and start here with HOST=0.0.0.0 make run.",
        "trusted": "This key is trusted: what comes without the headers that say who asks "
        "counts for {user}.",
        "cli": "To use the solaris command in another terminal:",
        "logs": "Logs",
        "stopping": "Stopping…",
        "stopped": "All stopped.",
        "running": "Already running (process {pid}). Stop it with Ctrl-C in its terminal.",
        "port_taken": "Port {port} is taken by another program. Choose another: PORT=5001 make run",
        "died": "{name} stopped (exit code {code}). End of its log ({log}):",
        "slow": "{name} did not answer within {seconds:.0f} s. End of its log ({log}):",
        "install_failed": "LiteLLM could not be installed. pip said:",
        "migration_failed": "The tables could not be made: {reason}",
    },
}

TICK_S = 0.5


class Console:
    """Writes progress to a terminal, or plain lines to a file."""

    def __init__(self, locale: str, out: TextIO = sys.stdout) -> None:
        self._texts = TEXTS[locale]
        self._out = out
        self._is_terminal = out.isatty()

    def text(self, key: str, **values: object) -> str:
        return self._texts[key].format(**values)

    def say(self, line: str = "") -> None:
        print(line, file=self._out, flush=True)

    @contextmanager
    def step(self, key: str) -> Iterator[None]:
        """Show a step as it runs, with its seconds, and how long it took."""
        label, started_s, done = self.text(key), time.monotonic(), threading.Event()
        ticker = threading.Thread(target=self._tick, args=(label, started_s, done), daemon=True)
        if self._is_terminal:
            ticker.start()
        mark = "✗"
        try:
            yield
            mark = "✓"
        finally:
            done.set()
            if self._is_terminal:
                ticker.join()
                self._out.write("\r\x1b[2K")
            self.say(f"  {mark} {label}  {time.monotonic() - started_s:.1f} s")

    def _tick(self, label: str, started_s: float, done: threading.Event) -> None:
        while not done.wait(TICK_S):
            self._out.write(f"\r\x1b[2K  … {label}  {time.monotonic() - started_s:.0f} s")
            self._out.flush()
