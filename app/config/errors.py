"""The one way configuration says that it cannot be used."""

from __future__ import annotations


class ConfigurationError(ValueError):
    """Raised at start, with every problem found, each naming its variable or key."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"- {problem}" for problem in problems))
