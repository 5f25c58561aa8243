"""How requests reach Flask: on the worker's event loop, or in a thread."""
