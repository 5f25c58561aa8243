"""Plain Flask, this application over WSGI, and over ASGI: the same views, the same behaviour.

Plain Flask takes part in every test, so that what is expected is Flask's own and not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    g,
    request,
    request_finished,
    request_started,
    request_tearing_down,
    session,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError

from app import extensions
from app.asgi import AsgiServer
from app.config.settings import Settings
from app.extensions import db
from app.serving.body import stream_body
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import LEAVE, AsgiClient, Reply

Headers = Iterable[tuple[str, str]]
View = Callable[..., ResponseReturnValue]

MAX_BODY_BYTES = 1024


class Site(Protocol):
    app: Flask

    def call(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Reply: ...


@dataclass
class WsgiSite:
    app: Flask

    def call(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Reply:
        client = self.app.test_client(use_cookies=False)
        response = client.open(path, method=method, headers=list(headers), data=body)
        chunks: list[bytes] = []
        is_cut = False
        try:
            chunks.extend(response.iter_encoded())
        except Exception:  # noqa: BLE001  # a server cuts the connection, whatever it was
            is_cut = True
        response.close()
        return Reply(response.status_code, list(response.headers), b"".join(chunks), is_cut)


@dataclass
class AsgiSite:
    app: Flask
    client: AsgiClient

    def call(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Reply:
        return self.client.call(method, path, headers, body)


@dataclass
class Sites:
    """Serves what a test has built, in one of three ways."""

    way: str
    settings: Settings
    clients: list[AsgiClient] = field(default_factory=list)
    apps: list[SolarisFlask] = field(default_factory=list)

    def new_app(self) -> Flask:
        if self.way == "flask":
            app = Flask(__name__)
        else:
            app = SolarisFlask(__name__)
            extensions.init_app(app, self.settings)
            self.apps.append(app)
        app.secret_key = "secret-key-for-the-tests-only"
        app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        return app

    def serve(self, app: Flask) -> Site:
        if self.way != "asgi":
            return WsgiSite(app)
        assert isinstance(app, SolarisFlask)
        self.clients.append(AsgiClient(AsgiServer(app)).start())
        return AsgiSite(app, self.clients[-1])

    def close(self) -> None:
        for client in self.clients:
            client.stop()
        for app in self.apps:
            app.background_loop.stop()
            with app.app_context():
                db.engine.dispose()


@pytest.fixture(params=["flask", "wsgi", "asgi"])
def sites(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Sites]:
    sites = Sites(request.param, settings)
    yield sites
    sites.close()


@pytest.fixture(params=["wsgi", "asgi"])
def solaris_sites(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Sites]:
    """The two ways that know bodies made on the loop, which plain Flask does not."""
    sites = Sites(request.param, settings)
    yield sites
    sites.close()


@pytest.fixture
def asgi_sites(settings: Settings) -> Iterator[Sites]:
    sites = Sites("asgi", settings)
    yield sites
    sites.close()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Whether the view called is a plain function or a coroutine function."""
    return str(request.param)


def add_view(app: Flask | Blueprint, rule: str, view: View, **options: Any) -> None:
    """Add ``view`` twice: as it is, below /sync, and as a coroutine function, below /async."""

    async def awaited(**view_args: Any) -> ResponseReturnValue:
        await asyncio.sleep(0)
        return view(**view_args)

    app.add_url_rule(f"/sync{rule}", f"sync_{view.__name__}", view, **options)
    app.add_url_rule(f"/async{rule}", f"async_{view.__name__}", awaited, **options)


def add_recording_hooks(app: Flask, events: list[str]) -> None:
    """Two of each hook, so that their order shows."""

    def add(number: int) -> None:
        def before() -> None:
            events.append(f"before {number}")

        def after(response: Response) -> Response:
            events.append(f"after {number} of {response.status_code}")
            return response

        def teardown(error: BaseException | None) -> None:
            events.append(f"teardown {number} with {type(error).__name__}")

        app.before_request(before)
        app.after_request(after)
        app.teardown_request(teardown)

    add(1)
    add(2)


def hello() -> ResponseReturnValue:
    return "hello"


def failing() -> ResponseReturnValue:
    raise ZeroDivisionError("a mistake of the view's")


# --- hooks ---------------------------------------------------------------------------------------


def test_hooks_around_a_view_run_in_flasks_order(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    add_recording_hooks(app, events)

    def view() -> ResponseReturnValue:
        events.append("view")
        return "hello"

    add_view(app, "/", view)

    sites.serve(app).call("GET", f"/{kind}/")

    assert events == [
        "before 1",
        "before 2",
        "view",
        "after 2 of 200",
        "after 1 of 200",
        "teardown 2 with NoneType",
        "teardown 1 with NoneType",
    ]


def test_teardown_after_an_unhandled_exception_gets_it(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    add_recording_hooks(app, events)
    add_view(app, "/", failing)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert reply.status == 500
    assert events == [
        "before 1",
        "before 2",
        "after 2 of 500",
        "after 1 of 500",
        "teardown 2 with ZeroDivisionError",
        "teardown 1 with ZeroDivisionError",
    ]


def test_teardown_after_a_handled_exception_gets_none(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    add_recording_hooks(app, events)
    app.register_error_handler(ZeroDivisionError, lambda _error: ("handled", 418))
    add_view(app, "/", failing)

    sites.serve(app).call("GET", f"/{kind}/")

    assert events[-4:] == [
        "after 2 of 418",
        "after 1 of 418",
        "teardown 2 with NoneType",
        "teardown 1 with NoneType",
    ]


def test_before_request_that_answers_keeps_the_view_from_running(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    app.before_request(lambda: ("answered by the hook", 202))
    add_recording_hooks(app, events)
    add_view(app, "/", failing)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body) == (202, b"answered by the hook")
    assert events == [
        "after 2 of 202",
        "after 1 of 202",
        "teardown 2 with NoneType",
        "teardown 1 with NoneType",
    ]


def test_before_request_that_raises_reaches_the_error_handler(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def before() -> None:
        raise ZeroDivisionError

    app.before_request(before)
    app.register_error_handler(ZeroDivisionError, lambda _error: ("handled", 418))
    add_view(app, "/", hello)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body) == (418, b"handled")


def test_after_request_that_raises_answers_500_and_tears_down(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()

    def after(_response: Response) -> Response:
        raise ZeroDivisionError

    def teardown(error: BaseException | None) -> None:
        events.append(type(error).__name__)

    app.after_request(after)
    app.teardown_request(teardown)
    add_view(app, "/", hello)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert reply.status == 500
    assert events == ["ZeroDivisionError"]


def test_after_this_request_changes_this_answer_only(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view() -> ResponseReturnValue:
        if request.args.get("mark"):

            @after_this_request
            def mark(response: Response) -> Response:
                response.headers["x-mark"] = "yes"
                return response

        return "hello"

    add_view(app, "/", view)
    site = sites.serve(app)

    replies = [site.call("GET", f"/{kind}/?mark=1"), site.call("GET", f"/{kind}/")]

    assert [reply.header("x-mark") for reply in replies] == ["yes", None]


def test_hooks_of_a_blueprint_run_for_its_views_only(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    blueprint = Blueprint("rooms", __name__, url_prefix="/rooms")
    blueprint.before_request(lambda: events.append(f"before {request.blueprint}"))
    blueprint.register_error_handler(ZeroDivisionError, lambda _error: ("of the blueprint", 418))
    add_view(blueprint, "/", failing)
    app.register_blueprint(blueprint)
    add_view(app, "/", hello)
    site = sites.serve(app)

    replies = [site.call("GET", f"/rooms/{kind}/"), site.call("GET", f"/{kind}/")]

    assert [reply.status for reply in replies] == [418, 200]
    assert events == ["before rooms"]


def test_signals_of_a_request_are_sent_in_flasks_order(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    add_view(app, "/", hello)
    site = sites.serve(app)

    def note(name: str) -> Callable[..., None]:
        return lambda *_args, **_values: events.append(name)

    with (
        request_started.connected_to(note("started"), app),
        request_finished.connected_to(note("finished"), app),
        request_tearing_down.connected_to(note("tearing down"), app),
    ):
        site.call("GET", f"/{kind}/")

    assert events == ["started", "finished", "tearing down"]


# --- errors --------------------------------------------------------------------------------------


def test_error_handler_for_a_class_takes_its_subclasses(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    app.register_error_handler(ArithmeticError, lambda error: (type(error).__name__, 418))
    add_view(app, "/", failing)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body) == (418, b"ZeroDivisionError")


def test_error_handler_for_404_answers_an_unknown_path(sites: Sites) -> None:
    app = sites.new_app()
    app.register_error_handler(404, lambda _error: (f"no {request.path}", 404))

    reply = sites.serve(app).call("GET", "/nowhere")

    assert (reply.status, reply.body) == (404, b"no /nowhere")


def test_error_handler_for_405_sees_the_allowed_methods(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def refused(error: HTTPException) -> ResponseReturnValue:
        return "refused", 405, [h for h in error.get_headers() if h[0] == "Allow"]

    app.register_error_handler(405, refused)
    add_view(app, "/", hello, methods=["POST"])

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body) == (405, b"refused")
    assert set((reply.header("Allow") or "").split(", ")) == {"OPTIONS", "POST"}


def test_error_handler_for_500_sees_the_original_exception(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def broken(error: InternalServerError) -> ResponseReturnValue:
        return type(error.original_exception).__name__, 500

    app.register_error_handler(500, broken)
    add_view(app, "/", failing)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body) == (500, b"ZeroDivisionError")


def test_exception_without_a_handler_answers_500_without_its_text(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    add_view(app, "/", failing)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert reply.status == 500
    assert b"a mistake" not in reply.body


def test_abort_in_a_view_answers_its_status(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view() -> ResponseReturnValue:
        abort(403, "not you")

    add_view(app, "/", view)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert reply.status == 403
    assert b"not you" in reply.body


def test_body_over_the_limit_is_413_between_the_hooks(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()
    add_recording_hooks(app, events)

    def view() -> ResponseReturnValue:
        return request.get_data()

    add_view(app, "/", view, methods=["POST"])

    reply = sites.serve(app).call("POST", f"/{kind}/", body=bytes(MAX_BODY_BYTES + 1))

    assert reply.status == 413
    assert events == [
        "before 1",
        "before 2",
        "after 2 of 413",
        "after 1 of 413",
        "teardown 2 with NoneType",
        "teardown 1 with NoneType",
    ]


# --- the request ---------------------------------------------------------------------------------


def seen() -> ResponseReturnValue:
    """Answer with what the view sees of its request."""
    return {
        "method": request.method,
        "url": request.url,
        "url_root": request.url_root,
        "path": request.path,
        "full_path": request.full_path,
        "args": request.args.to_dict(flat=False),
        "json": request.get_json(silent=True),
        "data": request.get_data(as_text=True),
        "mimetype": request.mimetype,
        "content_length": request.content_length,
        "x_name": request.headers.get("X-Name"),
        "x_list": request.headers.get("X-List"),
        "cookies": request.cookies.to_dict(flat=False),
        "remote_addr": request.remote_addr,
        "user_agent": request.user_agent.string,
        "endpoint_view": (request.endpoint or "").split("_", 1)[1],
        "is_secure": request.is_secure,
        "host": request.host,
    }


def seen_below(rest: str) -> ResponseReturnValue:
    return seen()


CALLS: dict[str, tuple[str, str, Headers, bytes]] = {
    "query": ("GET", "/?a=1&a=2&b=ol%C3%A1&empty=", [], b""),
    "json": ("POST", "/", [("Content-Type", "application/json")], '{"texto": "olá"}'.encode()),
    "not_json": ("POST", "/", [("Content-Type", "application/json")], b"{"),
    "latin_1_header": ("GET", "/", [("X-Name", "José Ç")], b""),
    "utf_8_header": ("GET", "/", [("X-Name", "Łukasz".encode().decode("latin-1"))], b""),
    "duplicate_header": ("GET", "/", [("X-List", "one"), ("x-list", "two")], b""),
    "cookies": ("GET", "/", [("Cookie", 'a=1; b="two words"; a=3')], b""),
    "host": ("GET", "/", [("Host", "ia.example.com:8443")], b""),
    "encoded_path": ("GET", "/caf%C3%A9%20au%20lait/%25", [], b""),
    "put": ("PUT", "/", [("Content-Type", "text/plain; charset=utf-8")], "ção".encode()),
}


@pytest.mark.parametrize("name", CALLS)
def test_request_seen_by_a_view_is_what_flask_shows(
    solaris_sites: Sites, kind: str, name: str
) -> None:
    method, path, own_headers, body = CALLS[name]
    headers = [("User-Agent", "langchainjs-openai/1.0"), *own_headers]

    def reply_of(app: Flask, serve: Callable[[Flask], Site]) -> Reply:
        add_view(app, "/", seen, methods=["GET", "POST", "PUT"])
        add_view(app, "/<path:rest>", seen_below)
        return serve(app).call(method, f"/{kind}{path}", headers, body)

    flask = reply_of(Flask(__name__), WsgiSite)

    ours = reply_of(solaris_sites.new_app(), solaris_sites.serve)

    assert flask.status == 200
    assert ours.body == flask.body


def test_g_set_before_the_request_is_there_until_its_teardown(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[Any]()

    def before() -> None:
        events.append(g.get("word"))
        g.word = request.args["word"]

    def view() -> ResponseReturnValue:
        return str(g.word)

    def after(response: Response) -> Response:
        response.headers["x-word"] = g.word
        return response

    app.before_request(before)
    app.after_request(after)
    app.teardown_request(lambda _error: events.append(g.word))
    add_view(app, "/", view)
    site = sites.serve(app)

    replies = [site.call("GET", f"/{kind}/?word={word}") for word in ("one", "two")]

    assert [(reply.body, reply.header("x-word")) for reply in replies] == [
        (b"one", "one"),
        (b"two", "two"),
    ]
    assert events == [None, "one", None, "two"]


def test_url_for_in_a_view_builds_addresses(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view(name: str) -> ResponseReturnValue:
        endpoint = request.endpoint
        assert endpoint is not None
        return [url_for(endpoint, name="b c", q=1), url_for(endpoint, name="b", _external=True)]

    add_view(app, "/<name>", view)

    reply = sites.serve(app).call("GET", f"/{kind}/a", [("Host", "ia.example.com")])

    assert reply.body.split() == (
        f'["/{kind}/b%20c?q=1","http://ia.example.com/{kind}/b"]'.encode().split()
    )


def test_session_on_a_page_comes_back_with_its_cookie(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    pages = Blueprint("pages", __name__, url_prefix="/admin")

    def view() -> ResponseReturnValue:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    add_view(pages, "/", view)
    app.register_blueprint(pages)
    site = sites.serve(app)
    cookie = (site.call("GET", f"/admin/{kind}/").header("Set-Cookie") or "").split(";")[0]

    reply = site.call("GET", f"/admin/{kind}/", [("Cookie", cookie)])

    assert reply.body == b"2"


def test_session_cookie_that_was_changed_is_not_believed(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    pages = Blueprint("pages", __name__, url_prefix="/admin")

    def view() -> ResponseReturnValue:
        return str(session.get("visits"))

    add_view(pages, "/", view)
    app.register_blueprint(pages)

    reply = sites.serve(app).call(
        "GET", f"/admin/{kind}/", [("Cookie", "session=eyJ2aXNpdHMiOjl9.aaaa.bbbb")]
    )

    assert reply.body == b"None"


def test_sync_and_async_views_of_one_app_answer_side_by_side(sites: Sites) -> None:
    app = sites.new_app()
    add_view(app, "/", seen)
    site = sites.serve(app)

    replies = [site.call("GET", path) for path in ("/sync/", "/async/", "/sync/", "/async/")]

    assert [reply.status for reply in replies] == [200] * 4


# --- the answer ----------------------------------------------------------------------------------

RETURNS: dict[str, Any] = {
    "text": "olá",
    "bytes": b"\x00\xff",
    "dict": {"a": 1},
    "list": [1, 2],
    "with_status": ("made", 201),
    "with_headers": ("made", 201, [("X-One", "1"), ("X-One", "2")]),
    "response": Response("whole", 203, [("X-Name", "José")], mimetype="text/plain"),
    "no_content": ("", 204),
    "not_modified": ("", 304, {"ETag": '"abc"'}),
    "no_content_with_a_body": ("dropped", 204),
    "not_modified_with_a_body": ("dropped", 304),
    "empty": "",
}


@pytest.mark.parametrize("name", RETURNS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answer_of_a_view_is_what_flask_sends(
    solaris_sites: Sites, kind: str, name: str, method: str
) -> None:
    def view() -> ResponseReturnValue:
        value: ResponseReturnValue = RETURNS[name]
        return value

    def reply_of(app: Flask, serve: Callable[[Flask], Site]) -> Reply:
        add_view(app, "/", view)
        return serve(app).call(method, f"/{kind}/")

    flask = reply_of(Flask(__name__), WsgiSite)

    ours = reply_of(solaris_sites.new_app(), solaris_sites.serve)

    assert (ours.status, ours.body, ours.is_cut) == (flask.status, flask.body, False)
    assert _lowered(ours.headers) == _lowered(flask.headers)


def _lowered(headers: Headers) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in headers)


def test_options_of_a_view_are_answered_by_flask(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    add_view(app, "/", failing, methods=["GET", "POST"])

    reply = sites.serve(app).call("OPTIONS", f"/{kind}/")

    assert (reply.status, reply.body) == (200, b"")
    assert set((reply.header("Allow") or "").split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_options_that_a_view_answers_itself_reach_the_view(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    add_view(app, "/", hello, methods=["OPTIONS"], provide_automatic_options=False)

    reply = sites.serve(app).call("OPTIONS", f"/{kind}/")

    assert (reply.status, reply.body) == (200, b"hello")


def test_head_of_a_streaming_view_has_no_body(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view() -> ResponseReturnValue:
        return Response(iter([b"one", b"two"]), headers={"X-Kind": "stream"})

    add_view(app, "/", view)

    reply = sites.serve(app).call("HEAD", f"/{kind}/")

    assert (reply.status, reply.body, reply.header("x-kind")) == (200, b"", "stream")


def test_path_without_its_slash_is_redirected(sites: Sites, kind: str) -> None:
    app = sites.new_app()
    add_view(app, "/folder/", hello)

    reply = sites.serve(app).call("GET", f"/{kind}/folder?a=1")

    assert reply.status == 308
    assert reply.header("Location") == f"http://localhost/{kind}/folder/?a=1"


def test_generator_of_a_view_is_sent_whole(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view() -> ResponseReturnValue:
        return Response((f"row {number}\n" for number in range(3)), mimetype="text/csv")

    add_view(app, "/", view)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.body, reply.is_cut) == (b"row 0\nrow 1\nrow 2\n", False)


def test_generator_of_a_sync_view_reads_its_request(sites: Sites) -> None:
    app = sites.new_app()

    @app.get("/")
    def view() -> Response:
        def rows() -> Iterator[str]:
            yield request.args["word"]
            yield request.args["word"]

        return Response(stream_with_context(rows()))

    reply = sites.serve(app).call("GET", "/?word=ola")

    assert (reply.body, reply.is_cut) == (b"olaola", False)


def test_generator_that_fails_midway_cuts_the_answer(sites: Sites, kind: str) -> None:
    app = sites.new_app()

    def view() -> ResponseReturnValue:
        def rows() -> Iterator[str]:
            yield "row\n"
            raise ZeroDivisionError

        return Response(rows())

    add_view(app, "/", view)

    reply = sites.serve(app).call("GET", f"/{kind}/")

    assert (reply.status, reply.body, reply.is_cut) == (200, b"row\n", True)


def test_call_on_close_of_an_answer_runs_when_it_is_over(sites: Sites, kind: str) -> None:
    app, events = sites.new_app(), list[str]()

    def view() -> ResponseReturnValue:
        response = Response("hello")
        response.call_on_close(lambda: events.append("closed"))
        return response

    add_view(app, "/", view)

    sites.serve(app).call("GET", f"/{kind}/")

    assert events == ["closed"]


# --- answers that are made on the loop -----------------------------------------------------------


def add_stream(app: Flask, chunks: Callable[[], AsyncIterator[bytes]]) -> None:
    @app.get("/stream")
    async def stream() -> Response:
        return Response(stream_body(chunks(), lambda: b"farewell"), mimetype="text/event-stream")


def test_async_stream_of_a_view_is_sent_whole(solaris_sites: Sites) -> None:
    app = solaris_sites.new_app()

    async def chunks() -> AsyncIterator[bytes]:
        for word in (b"one ", b"two ", b"three"):
            await asyncio.sleep(0)
            yield word

    add_stream(app, chunks)

    reply = solaris_sites.serve(app).call("GET", "/stream")

    assert (reply.status, reply.body, reply.is_cut) == (200, b"one two three", False)


def test_async_stream_that_fails_midway_is_cut_and_its_finally_runs(solaris_sites: Sites) -> None:
    app, events = solaris_sites.new_app(), list[str]()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            raise ZeroDivisionError
        finally:
            events.append("closed")

    add_stream(app, chunks)

    reply = solaris_sites.serve(app).call("GET", "/stream")

    assert (reply.status, reply.body, reply.is_cut) == (200, b"one", True)
    assert events == ["closed"]


def test_teardown_after_a_failed_stream_gets_the_exception(asgi_sites: Sites) -> None:
    app, events = asgi_sites.new_app(), list[str]()
    add_recording_hooks(app, events)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    add_stream(app, chunks)

    asgi_sites.serve(app).call("GET", "/stream")

    assert events[-2:] == [
        "teardown 2 with ZeroDivisionError",
        "teardown 1 with ZeroDivisionError",
    ]


def test_request_in_an_async_stream_is_still_there(asgi_sites: Sites) -> None:
    app = asgi_sites.new_app()

    async def chunks() -> AsyncIterator[bytes]:
        yield request.args["word"].encode()
        await asyncio.sleep(0)
        yield request.args["word"].encode()

    add_stream(app, chunks)

    reply = asgi_sites.serve(app).call("GET", "/stream?word=ola")

    assert reply.body == b"olaola"


def test_after_request_that_raises_closes_the_lost_stream(solaris_sites: Sites) -> None:
    app, events = solaris_sites.new_app(), list[str]()

    class Chunks:
        def __aiter__(self) -> Chunks:
            return self

        async def __anext__(self) -> bytes:
            return b"one"

        async def aclose(self) -> None:
            events.append("closed")

    def after(_response: Response) -> Response:
        raise ZeroDivisionError

    app.after_request(after)
    add_stream(app, Chunks)
    site = solaris_sites.serve(app)

    reply = site.call("GET", "/stream")

    assert reply.status == 500
    assert events == ["closed"]


def test_caller_who_leaves_mid_stream_runs_its_finally_and_teardown(asgi_sites: Sites) -> None:
    app, events = asgi_sites.new_app(), list[str]()
    add_recording_hooks(app, events)

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.sleep(60)
        finally:
            events.append("closed")

    add_stream(app, chunks)
    site = asgi_sites.serve(app)
    assert isinstance(site, AsgiSite)
    exchange, future = site.client.begin("GET", "/stream")
    site.client.run(exchange.wait_for_body(1))

    site.client.run(exchange.leave())

    assert future.result(5).is_cut
    assert events[-3:] == [
        "closed",
        "teardown 2 with CancelledError",
        "teardown 1 with CancelledError",
    ]


def test_caller_who_leaves_while_sending_the_body_runs_no_view(asgi_sites: Sites) -> None:
    app, events = asgi_sites.new_app(), list[str]()

    @app.post("/")
    async def view() -> str:
        events.append("view")
        return "hello"

    site = asgi_sites.serve(app)
    assert isinstance(site, AsgiSite)
    reply = site.client.call("POST", "/", body=[b"part", LEAVE])

    assert (reply.status, events) == (0, [])
