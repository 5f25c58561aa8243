"""The ledger: what may be spent, what is held for calls under way, and what was spent.

Two-phase, after TigerBeetle: an amount is held before a call and posted, once, after it. Postgres
is the authority. `app/services/token_service.py` is the only way in.
"""
