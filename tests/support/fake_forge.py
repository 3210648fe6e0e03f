"""A server on this machine that keeps comments as GitHub's and GitLab's APIs do, over real HTTP."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "secret-of-this-test"  # noqa: S105 - of a server that keeps no secrets
# Each with the keys of both APIs.
STRANGER = {
    "user": {"login": "eve", "type": "User"},
    "author_association": "NONE",
    "author": {"username": "eve"},
}
BOT = {
    "user": {"login": "github-actions[bot]", "type": "Bot"},
    "author_association": "NONE",
    "author": {"username": "project_1_bot"},
}


class Reply(NamedTuple):
    """An answer in place of the server's own."""

    status: int
    body: str = '{"message": "no"}'
    headers: tuple[tuple[str, str], ...] = ()


class Seen(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Forge:
    """The state of the server: comments by number, what arrived, and what to answer instead."""

    def __init__(self) -> None:
        self.url = ""
        self.comments: dict[int, dict[str, Any]] = {}
        self.pulls: list[dict[str, Any]] = []
        self.seen: list[Seen] = []
        self.page_size = 100
        self.replies: list[tuple[str, Reply]] = []
        """Answers to the next requests of a method, each used once."""
        self.before: Callable[[Seen], None] = lambda _: None
        """Called before a request is answered."""
        self._lock = threading.Lock()
        self._next = 1

    def add(self, body: str, author: dict[str, Any] = BOT) -> int:
        """Write a comment, and return its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            page = f"https://forge.example/pull/7#issuecomment-{number}"
            self.comments[number] = {"id": number, "body": body, "html_url": page, **author}
        return number

    @property
    def bodies(self) -> list[str]:
        """The texts of all comments, the oldest first."""
        return [one["body"] for _, one in sorted(self.comments.items())]

    def methods(self) -> list[str]:
        """Return the methods of what arrived."""
        return [one.method for one in self.seen]

    def answer(self, request: Seen) -> tuple[int, Any, dict[str, str]]:
        """Return status, content and headers for a request."""
        self.seen.append(request)
        self.before(request)
        for number, (method, reply) in enumerate(self.replies):
            if method == request.method:
                del self.replies[number]
                return reply.status, reply.body, dict(reply.headers)
        path = urlsplit(request.path).path
        known = {"user": {"username": "project_1_bot"}, "pulls": self.pulls}
        name = path.rpartition("/")[2]
        if name in known:
            return 200, known[name], {}
        if last := re.search(r"/(?:comments|notes)/(\d+)$", path):
            return self._one(request, int(last[1]))
        if not path.endswith(("/issues/7/comments", "/merge_requests/7/notes")):
            return 404, {"message": "Not Found"}, {}
        if request.method == "POST":
            return 201, self.comments[self.add(request.body["body"])], {}
        page = parse_qs(urlsplit(request.path).query).get("page", ["1"])[0]
        return self._page(path, int(page))

    def _one(self, request: Seen, number: int) -> tuple[int, Any, dict[str, str]]:
        if number not in self.comments:
            return 404, {"message": "Not Found"}, {}
        if request.method == "DELETE":
            del self.comments[number]
            return 204, "", {}
        self.comments[number]["body"] = request.body["body"]
        return 200, self.comments[number], {}

    def _page(self, path: str, number: int) -> tuple[int, Any, dict[str, str]]:
        everything = [one for _, one in sorted(self.comments.items())]
        end = number * self.page_size
        link = f'<{self.url}{path}?page={number + 1}>; rel="next", <{self.url}{path}>; rel="first"'
        headers = {"Link": link} if end < len(everything) else {}
        return 200, everything[end - self.page_size : end], headers


@contextmanager
def running_forge() -> Iterator[Forge]:
    """Start the server, and stop it at the end."""
    forge = Forge()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(data) if data else None
            status, content, more = forge.answer(Seen(self.command, self.path, headers, body))
            text = content if isinstance(content, str) else json.dumps(content)
            try:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:  # the client has given up, as a test of a hanging server wants it
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the base's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forge.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
