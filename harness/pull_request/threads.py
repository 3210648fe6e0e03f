"""Reads and writes the comments of one pull request, on GitHub and on GitLab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.pull_request.http_api import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.pull_request.http_api import HttpApi

# People who may change each comment of the repository anyway.
_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")
_PAGE = "per_page=100"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment, with the number that the server gave it: a later one has a higher number."""

    number: int
    body: str
    url: str


class Thread(Protocol):
    """The comments of a pull request."""

    forge: str
    """GitHub or GitLab."""

    def own(self) -> Iterator[Comment]:
        """Yield the comments that this token's owner, or another who may, has written."""

    def create(self, body: str) -> Comment:
        """Write a new comment."""

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace the text of a comment."""

    def delete(self, comment: Comment) -> None:
        """Remove a comment."""


class GitHubThread:
    """The comments of a pull request on GitHub.

    repository: `owner/name`.
    """

    forge = "GitHub"

    def __init__(self, api: HttpApi, repository: str, number: int) -> None:
        self._api = api
        self._issues = f"repos/{repository}/issues"
        self._number = number

    def own(self) -> Iterator[Comment]:
        """Yield the comments of bots, and of people who may change those of others.

        A stranger's comment is none of them, whatever it begins with: the stranger could change it
        afterwards.
        """
        for one in self._api.pages(f"{self._issues}/{self._number}/comments?{_PAGE}"):
            author = one.get("user") if isinstance(one, dict) else None
            kind = author.get("type") if isinstance(author, dict) else None
            if kind == "Bot" or (
                isinstance(one, dict) and one.get("author_association") in _TRUSTED
            ):
                yield _github_comment(one)

    def create(self, body: str) -> Comment:
        """Write a new comment."""
        target = f"{self._issues}/{self._number}/comments"
        return _github_comment(self._api.call("POST", target, {"body": body}))

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace the text of a comment."""
        target = f"{self._issues}/comments/{comment.number}"
        return _github_comment(self._api.call("PATCH", target, {"body": body}))

    def delete(self, comment: Comment) -> None:
        """Remove a comment."""
        self._api.call("DELETE", f"{self._issues}/comments/{comment.number}")


class GitLabThread:
    """The notes of a merge request on GitLab.

    project: its number. page: the address of the merge request.
    """

    forge = "GitLab"

    def __init__(self, api: HttpApi, project: int, number: int, page: str) -> None:
        self._api = api
        self._notes = f"projects/{project}/merge_requests/{number}/notes"
        self._page = page

    def own(self) -> Iterator[Comment]:
        """Yield the notes that the token's owner has written."""
        me = _key(self._api.call("GET", "user"), "username", str)
        for one in self._api.pages(f"{self._notes}?{_PAGE}&order_by=created_at&sort=asc"):
            if _key(_key(one, "author", dict), "username", str) == me:
                yield self._note(one)

    def create(self, body: str) -> Comment:
        """Write a new note."""
        return self._note(self._api.call("POST", self._notes, {"body": body}))

    def update(self, comment: Comment, body: str) -> Comment:
        """Replace the text of a note."""
        target = f"{self._notes}/{comment.number}"
        return self._note(self._api.call("PUT", target, {"body": body}))

    def delete(self, comment: Comment) -> None:
        """Remove a note."""
        self._api.call("DELETE", f"{self._notes}/{comment.number}")

    def _note(self, data: Any) -> Comment:
        number = _key(data, "id", int)
        return Comment(number, _key(data, "body", str), f"{self._page}#note_{number}")


def _github_comment(data: Any) -> Comment:
    # The API has null for a comment without a text.
    body = "" if isinstance(data, dict) and data.get("body") is None else _key(data, "body", str)
    return Comment(_key(data, "id", int), body, _key(data, "html_url", str))


def _key(data: Any, name: str, kind: type[_T]) -> _T:
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, kind):
        raise ApiError(f"the server's answer has no {name}")
    return value
