"""The audit trail: who asked what of which model, what came of it, and who changed what.

An event is one line in a file first, a numbered row in Postgres soon after, and provable from
then on. `app/services/audit_service.py` is the only way in.
"""
