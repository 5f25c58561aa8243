"""The bodies, queries and answers of `/api/admin`."""
