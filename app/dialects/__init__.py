"""What each API of `/v1` says on the wire: its requests, usage, ends of streams and errors.

One small module an API; everything else in the product knows only `Dialect`.
"""
