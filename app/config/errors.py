"""The one way configuration says that it cannot be used."""

from __future__ import annotations

from app.config.problems import Problem


class ConfigurationError(ValueError):
    """Raised at start, with every problem found, each naming its variable or key."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(self.text("en"))

    def text(self, locale: str) -> str:
        """Return one line a problem."""
        return "\n".join(f"- {problem.text(locale)}" for problem in self.problems)
