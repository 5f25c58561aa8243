"""The one exception tree; `app/errors.py` maps it to HTTP, nothing else does.

SolarisError
├── InvalidRequestError                   400  the caller's own mistake, seen before a call
│   ├── InvalidFieldError                 422  of /api/admin: a field that cannot be what it says
│   └── RequestTooLargeError              413
├── AuthenticationError                   401  no key, unknown, expired, revoked
│   ├── IdentityRejectedError             401  a signed identity that does not verify
│   ├── InvalidSignatureError             401  a webhook that is not LiteLLM's
│   └── SignInRefusedError                401  of the pages: a key or a link that opens nothing
├── PermissionDeniedError                 403  a key whose role does not reach this far
│   ├── ModelNotAllowedError              403
│   └── AccessSuspendedError              403  a kill switch: everybody's calls
│       ├── TeamSuspendedError            403
│       ├── UserSuspendedError            403
│       └── ModelSuspendedError           403
├── ModelNotFoundError                    404
├── NotFoundError                         404  of /api/admin: nothing answers to this id
├── ConflictError                         409  of /api/admin: what is there stands against it
├── InsufficientQuotaError                402  a budget is spent; retrying will not help
├── RateLimitedError                      429  retrying will help
│   ├── TooManySignInsError               429  too many wrong keys from one address
│   └── TooManyRequestsError              429  a limit of our own, by the minute
│       ├── AboveLimitError               429  larger than the limit itself: waiting is pointless
│       └── TooManyCallsError             429  one person's calls at once
├── ServiceUnavailableError               503
│   ├── OverloadedError                   503  every slot of this worker is taken
│   ├── DrainingError                     503  this worker is about to stop
│   ├── DatabaseUnavailableError          503  what was sent may have been done
│   │   └── DatabaseUnreachableError      503  nothing was sent
│   └── SpoolUnavailableError             503  what happens could not be put on record
└── LiteLLMError                          502  LiteLLM or a provider answered with junk, or failed
    ├── UpstreamRejectedError             400  a provider refused what the caller sent
    ├── UpstreamMisconfiguredError        502  LiteLLM or a provider refuses a key of ours
    ├── ModelNotAvailableError            503  no model that may answer is well
    │   └── LiteLLMUnreachableError       503  nothing was sent
    └── UpstreamTimeoutError              504

Each class is a meaning, with its status, type and code (the message texts hang on the code, in
`app/config/messages.py`). Attributes carry facts; nobody parses a message.
"""

from __future__ import annotations

from typing import ClassVar


class SolarisError(Exception):
    """Root of everything that the product itself raises."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    # None leaves the decision to the client; False says that a retry is pointless.
    should_retry: ClassVar[bool | None] = None
    # What the log and the trail call it, where the code that callers see says less.
    reason: ClassVar[str | None] = None
    # Which of the messages people read, where one code has several.
    sentence: ClassVar[str | None] = None

    def __init__(
        self, *, param: str | None = None, retry_after_s: float | None = None, **values: object
    ) -> None:
        self.param = param
        self.retry_after_s = retry_after_s
        self.values = values
        # LiteLLM's status, for the log.
        self.upstream_status: int | None = None
        super().__init__(self.code)

    @property
    def cause(self) -> str:
        """Return the reason for the log, or the code."""
        return self.reason or self.code


class InvalidRequestError(SolarisError):
    """Names the field in ``param`` and what is wrong with it in ``detail``."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"

    def __init__(self, detail: str, *, param: str | None = None, **values: object) -> None:
        self.detail = detail
        super().__init__(param=param)
        self.values = {"field": param, **values}


class InvalidFieldError(InvalidRequestError):
    status = 422


class RequestTooLargeError(InvalidRequestError):
    status = 413
    code = "request_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("not_json", limit_mb=limit_bytes // (1024 * 1024))


class AuthenticationError(SolarisError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class IdentityRejectedError(AuthenticationError):
    code = "identity_rejected"


class InvalidSignatureError(AuthenticationError):
    code = "invalid_signature"


class SignInRefusedError(AuthenticationError):
    """Says no more than that: neither whether there is such a key, nor what it lacks."""

    code = "sign_in_refused"


class PermissionDeniedError(SolarisError):
    status = 403
    type = "permission_error"
    code = "permission_denied"


class ModelNotAllowedError(PermissionDeniedError):
    code = "model_not_allowed"

    def __init__(self, model: str) -> None:
        super().__init__(param="model", model=model)


class AccessSuspendedError(PermissionDeniedError):
    """An administrator has thrown a kill switch; ``reason_told`` is theirs, for whoever calls."""

    code = "access_suspended"
    should_retry: ClassVar[bool | None] = False

    def __init__(self, reason_told: str, *, param: str | None = None, **values: object) -> None:
        super().__init__(param=param, reason=reason_told)
        self.values |= values


class TeamSuspendedError(AccessSuspendedError):
    sentence = "team_suspended"


class UserSuspendedError(AccessSuspendedError):
    sentence = "user_suspended"


class ModelSuspendedError(AccessSuspendedError):
    sentence = "model_suspended"

    def __init__(self, model: str, reason_told: str) -> None:
        super().__init__(reason_told, param="model", model=model)


class NotFoundError(SolarisError):
    """Nothing has this id, or not any more."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    sentence = "nothing_there"

    def __init__(self, name: object = "") -> None:
        super().__init__(id=name)


class ModelNotFoundError(SolarisError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(param="model", model=model)


class ConflictError(SolarisError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"
    sentence = "already_there"

    def __init__(self, name: object = "") -> None:
        super().__init__(id=name)


class InsufficientQuotaError(SolarisError):
    """A budget has no room; ``values`` say which, for `quota_message`. Without them it is LiteLLM's
    own budget, of which nothing is known."""

    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry: ClassVar[bool | None] = False

    def __init__(self, **values: object) -> None:
        super().__init__()
        self.values = values


# What only `/api/admin` answers with: clients of `/v1` try a 409 and a 422 again.
ADMINISTRATION = (InvalidFieldError, NotFoundError, ConflictError)


class RateLimitedError(SolarisError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class TooManySignInsError(RateLimitedError):
    sentence = "too_many_sign_ins"


class TooManyRequestsError(RateLimitedError):
    """A budget by the minute, or the number of calls at once, is used up; no model is to blame.

    ``values`` say which budget, as of InsufficientQuotaError.
    """


class AboveLimitError(TooManyRequestsError):
    should_retry: ClassVar[bool | None] = False
    reason = "above_limit"


class TooManyCallsError(TooManyRequestsError):
    sentence = reason = "too_many_calls"

    def __init__(self) -> None:
        # When one of the others ends, nobody knows.
        super().__init__(retry_after_s=1.0)


class ServiceUnavailableError(SolarisError):
    status = 503
    code = "upstream_unavailable"


class OverloadedError(ServiceUnavailableError):
    code = "overloaded"


class DrainingError(ServiceUnavailableError):
    code = "draining"


class DatabaseUnavailableError(ServiceUnavailableError):
    code = "database_unavailable"


class DatabaseUnreachableError(DatabaseUnavailableError):
    """There is no connection, so that nothing can have happened."""


class SpoolUnavailableError(ServiceUnavailableError):
    code = "audit_unavailable"

    def __init__(self, fault: OSError | None = None) -> None:
        super().__init__(retry_after_s=10.0)
        # The system's own word for the log, such as ENOSPC.
        self.errno = fault.errno if fault else None


class LiteLLMError(SolarisError):
    """LiteLLM or the provider behind it failed; never the caller's fault."""

    status = 502
    code = "upstream_error"
    # The whole chain was tried, and perhaps paid for: an SDK's own retries would triple that.
    should_retry: ClassVar[bool | None] = False


class UpstreamRejectedError(LiteLLMError):
    """A provider refused the caller's own request; ``said`` is safe to show, or None."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"

    def __init__(self, said: str | None, *, param: str | None = None) -> None:
        self.detail = "refused_upstream" if said else "refused_upstream_silent"
        super().__init__(param=param, reason=said)


class UpstreamMisconfiguredError(LiteLLMError):
    """A key or a name in our own configuration is wrong; callers hear only that it failed."""

    reason = "misconfigured"


class ModelNotAvailableError(LiteLLMError):
    status = 503
    code = "upstream_unavailable"
    # Nobody was asked, so that asking again costs nothing.
    should_retry = None


class LiteLLMUnreachableError(ModelNotAvailableError):
    reason = "litellm_unreachable"


class UpstreamTimeoutError(LiteLLMError):
    status = 504
    code = "upstream_timeout"
