"""The tables. Rows only: no rule lives here."""

from app.models.base import Base
from app.models.keys import ApiKey

__all__ = ["ApiKey", "Base"]
