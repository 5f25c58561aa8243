"""What the application's own role may do to the tables: of the trail, read and add only.

For the owner, after every migration. Where the application connects as the owner itself there is
nothing to grant, and nothing that would hold it back.
"""

from __future__ import annotations

from sqlalchemy import Connection, make_url, text

from app.audit.partitions import TABLE

READ, ADD = "SELECT", "SELECT, INSERT"
CHANGE = "SELECT, INSERT, UPDATE"
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"
# Of tables that are not named here: EVERYTHING.
RIGHTS = {
    TABLE: ADD,
    "audit_checkpoints": ADD,
    "audit_names": ADD,
    "audit_contents": ADD,
    # Only retention writes it.
    "audit_drops": READ,
    "usage_days": CHANGE,
    "usage_months": CHANGE,
    # A month is closed once.
    "closed_months": ADD,
    "closed_usage": ADD,
    # A hold is lifted, never deleted.
    "legal_holds": CHANGE,
    # A raise is ended, never deleted.
    "budget_raises": CHANGE,
    # A request for more is answered, never deleted.
    "raise_requests": CHANGE,
    "trail_verifications": CHANGE,
    # A kill switch is lifted, never deleted.
    "kill_switches": CHANGE,
    # A day is compared again when somebody asks, never forgotten.
    "reconciliations": CHANGE,
    "alembic_version": READ,
}

ROLE_EXISTS = text("SELECT count(*) FROM pg_roles WHERE rolname = :role")
OUR_TABLES = text("""
    SELECT tablename FROM pg_tables
    WHERE schemaname = current_schema() AND tableowner = current_user ORDER BY tablename
""")


class UnknownRoleError(LookupError):
    """The application would connect as a role that Postgres does not have."""


def grant(connection: Connection, application_url: str) -> None:
    """Give the role of ``application_url`` what it needs of our tables, and nothing more.

    Raises: UnknownRoleError.
    """
    role = make_url(application_url).username
    if not role or role == _one(connection, "SELECT current_user"):
        return
    if not connection.execute(ROLE_EXISTS, {"role": role}).scalar_one():
        raise UnknownRoleError(role)
    quoted = connection.dialect.identifier_preparer.quote_identifier
    to, schema = quoted(role), quoted(_one(connection, "SELECT current_schema()"))
    for table in connection.execute(OUR_TABLES).scalars().all():
        on = f"ON {schema}.{quoted(table)}"
        connection.exec_driver_sql(f"REVOKE ALL {on} FROM {to}")
        connection.exec_driver_sql(f"GRANT {rights(table)} {on} TO {to}")
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema} TO {to}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {to}",
        # What is made before this runs again can be no more than added to.
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {ADD} ON TABLES TO {to}",
    ):
        connection.exec_driver_sql(statement)


def rights(table: str) -> str:
    if table.startswith(f"{TABLE}_"):
        return RIGHTS[TABLE]
    return RIGHTS.get(table, EVERYTHING)


def _one(connection: Connection, query: str) -> str:
    return str(connection.exec_driver_sql(query).scalar_one())
