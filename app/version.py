"""The product's version, stated once; `setup.cfg` and `solaris --version` read it."""

__version__ = "0.1.0"
