"""Calls a JSON API over HTTP: bounded in time and size, and the token goes to one server only."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from harness.errors import HarnessError
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from typing import IO

_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5
# A server may ask for minutes. A job that waits them for a comment costs more than the comment.
_MAX_WAIT_SECONDS = 30.0
_TOTAL_SECONDS = 180.0
# A page of a hundred comments, each of 65,536 characters, has up to 26 MB.
_MAX_BYTES = 32 * 1024**2
_MAX_PAGES = 100
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 307, 308)
_FORBIDDEN = 403
_TOO_MANY = 429
_SERVER_ERROR = 500
_ERRORS = 400


class ApiError(HarnessError):
    """The server did not do what it was asked; `status` is its answer, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    data: bytes


class HttpApi:
    """One server, as its API's URL names it.

    Raises HarnessError where that is no URL of HTTP.

    url: the root of the API, such as `https://api.github.com`.
    headers: sent with each request, the token among them.
    secret: the token, which no message shows.
    seconds: how long one answer may take to arrive, in each of its parts.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], secret: str, *, seconds: float = 20.0
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise HarnessError(f"{cut(url)} is no URL of an API; it begins with https://")
        self._root = url.rstrip("/") + "/"
        self._headers = {"User-Agent": "pytest-gpu-profile", **headers}
        self._secret = secret
        self._seconds = seconds
        self._until = time.monotonic() + _TOTAL_SECONDS
        self._opener = build_opener(_NoRedirects)

    def call(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what the server answers, read as JSON; None for an empty answer.

        Repeats the request when the server is busy or does not answer. Raises ApiError.

        target: a path below the root of the API.
        """
        return self._parsed(self._answer(method, urljoin(self._root, target), body))

    def pages(self, target: str) -> Iterator[Any]:
        """Yield each page of a list, as the header `Link` leads from one to the next."""
        url = urljoin(self._root, target)
        for _ in range(_MAX_PAGES):
            answer = self._answer("GET", url)
            page = self._parsed(answer)
            if not isinstance(page, list):
                raise ApiError(f"{self._host} answered with no list: {self._shown(answer.data)}")
            yield from page
            following = _next_page(answer.headers.get("link", ""))
            if following is None:
                return
            url = urljoin(url, following)
            if _origin(url) != _origin(self._root):
                raise ApiError(f"{self._host} leads to another server, {cut(url)}: not followed")

    @property
    def _host(self) -> str:
        return cut(urlsplit(self._root).netloc.rpartition("@")[2])

    def _answer(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Answer:
        wait = _FIRST_WAIT_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            answer, trouble = self._try(method, url, body)
            if answer is not None and not _is_passing(answer):
                break
            asked = _asked_to_wait(answer)
            pause = min(wait if asked is None else asked, _MAX_WAIT_SECONDS)
            if attempt == _ATTEMPTS or time.monotonic() + pause > self._until:
                break
            time.sleep(pause)
            wait *= 2
        if answer is None:
            raise ApiError(f"{self._host} cannot be asked: {trouble}")
        if answer.status >= _ERRORS:
            raise ApiError(
                f"{self._host} answered {answer.status}: {self._reason(answer)}", answer.status
            )
        return answer

    def _try(
        self, method: str, url: str, body: Mapping[str, Any] | None
    ) -> tuple[Answer | None, str]:
        """Return the answer, or None and the reason why there is none."""
        try:
            for _ in range(_MAX_REDIRECTS):
                answer = self._once(method, url, body)
                if answer.status not in _REDIRECTS:
                    return answer, ""
                url = urljoin(url, answer.headers.get("location", ""))
                if _origin(url) != _origin(self._root):
                    raise ApiError(
                        f"{self._host} redirects to another server, {cut(url)}: the token is not "
                        "sent there",
                        answer.status,
                    )
        except TimeoutError:
            return None, f"no answer within {self._seconds:g} seconds"
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                return None, f"no answer within {self._seconds:g} seconds"
            return None, self._hidden(f"{type(error).__name__}: {reason}")
        raise ApiError(f"{self._host} redirects in a circle", answer.status)

    def _once(self, method: str, url: str, body: Mapping[str, Any] | None) -> Answer:
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(url, data, headers, method=method)  # noqa: S310 - http or https, as above
        try:
            with self._opener.open(request, timeout=self._seconds) as response:
                return self._read(response.status, response.headers, response)
        except HTTPError as error:
            with error:
                return self._read(error.code, error.headers, error)

    def _read(self, status: int, headers: Message, response: Any) -> Answer:
        until = time.monotonic() + self._seconds
        parts: list[bytes] = []
        size = 0
        # Part by part: a server that sends a byte now and then would hold a whole `read` for ever.
        while part := response.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > _MAX_BYTES:
                raise ApiError(f"{self._host} answered with more than {_MAX_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise TimeoutError
        return Answer(
            status, {name.lower(): value for name, value in headers.items()}, b"".join(parts)
        )

    def _parsed(self, answer: Answer) -> Any:
        if not answer.data:
            return None
        try:
            return json.loads(answer.data)
        except (ValueError, RecursionError) as error:
            raise ApiError(
                f"{self._host} answered {answer.status} with what is not JSON: "
                f"{self._shown(answer.data)}",
                answer.status,
            ) from error

    def _reason(self, answer: Answer) -> str:
        try:
            message = json.loads(answer.data)["message"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return self._shown(answer.data) or "no reason given"
        return cut(self._hidden(str(message)))

    def _shown(self, data: bytes) -> str:
        return cut(self._hidden(data[:1000].decode(errors="replace")))

    def _hidden(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


class _NoRedirects(HTTPRedirectHandler):
    """Hands redirects to the caller: urllib would send the token to wherever they lead."""

    def redirect_request(  # noqa: PLR0917 - the signature of urllib's
        self,
        req: Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Follow none."""
        return


def _is_passing(answer: Answer) -> bool:
    """Return whether the same request may succeed soon."""
    limited = answer.status == _FORBIDDEN and (
        "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    )
    return answer.status == _TOO_MANY or answer.status >= _SERVER_ERROR or limited


def _asked_to_wait(answer: Answer | None) -> float | None:
    """Return the seconds that the server asks to wait; None where it names none."""
    value = "" if answer is None else answer.headers.get("retry-after", "")
    # It may be a date, too, which servers of these APIs do not send.
    return float(value) if value.isdecimal() and value.isascii() else None


def _next_page(link: str) -> str | None:
    for part in link.split(","):
        target, _, parameters = part.partition(";")
        if 'rel="next"' in parameters and target.strip().startswith("<"):
            return target.strip().strip("<>")
    return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
