"""Search and page tools for agents: recorded in a folder, and from one live service by a key of the environment.

A request that is not recorded is an error and never an empty result: without a live service the attempt has no score.
A folder of recordings has JSON files, one per request, anywhere below it:

    {"query": ..., "count": 10, "english": false, "text": ..., "source": ..., "at": ...}      a search
    {"url": ..., "text": ..., "source": ..., "at": ...}                                        a page

`count` and `english` may be left out: the recording then answers every search with that query. `text` is what the model
reads. A page that could not be read is recorded as the text that says so, since the web answered; a failure of the search
service is not. Of pages only text is read: no scripts run, and PDF files and images are refused with a text.
"""

import contextlib
import functools
import html.parser
import ipaddress
import json
import os
import socket as sockets
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replication.collect.benchmarks.official import serving
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json, stable_hash
from replication.settings.limits import limited, located, one_of, real, whole

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

MAX_RESULTS = 20
"""Most results of one request to the live service."""
MAX_BYTES = 5_000_000
"""Of a page; the rest is not read."""


@dataclass
class Tools:
    """Settings `options.tools`."""

    cache: str | None = located(None)  # folder of recordings; null: `web` in the folder of a run that searches live
    backend: str = one_of(
        ("none", "brave"), "none"
    )  # asked for what is not recorded, and recorded then; none: recordings
    key_env: str = limited("BRAVE_API_KEY")  # environment variable with the key of the live service
    url: str = limited("https://api.search.brave.com/res/v1/web/search")
    page_chars: int = whole(100, 10_000_000, 50_000)  # of a page's text that a model reads
    timeout_s: float = real(0.0, 1e4, 60.0, above=True)


class ToolFailure(Exception):
    """A request that has no result for a reason that is not the model's."""


class SearchTools(Protocol):
    """What an agent can ask; results are the texts that it reads."""

    def search(self, query: str, count: int, english: bool) -> str:
        """Return results of a search. Raises ToolFailure."""

    def page(self, url: str) -> str:
        """Return the text of a page. Raises ToolFailure."""


class Recorded:
    """Answers from a folder, and records what another source answers where it has one."""

    def __init__(self, folder: Path, live: SearchTools | None = None, source: str = ""):
        self._folder, self._live, self._source = folder, live, source
        self._index: dict[str, str] = {}
        self._lock = threading.Lock()
        for path in sorted(folder.rglob("*.json")):
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
                self._index[_key(entry)] = entry["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise HarnessError(
                    f"`{path}` is no recording of a search or a page: {error!r}. Fix it or move it away."
                ) from None

    def search(self, query: str, count: int, english: bool) -> str:
        """Answer a search."""
        asked: dict[str, Json] = {"query": query, "count": count, "english": english}
        found = self._index.get(_key(asked), self._index.get(_key({"query": query})))
        if found is not None:
            return found
        if self._live is None:
            raise ToolFailure(f"the search {query!r} is not recorded in `{self._folder}`")
        return self._record(asked, self._live.search(query, count, english))

    def page(self, url: str) -> str:
        """Answer a page."""
        found = self._index.get(_key({"url": url}))
        if found is not None:
            return found
        if self._live is None:
            raise ToolFailure(f"the page {url!r} is not recorded in `{self._folder}`")
        return self._record({"url": url}, self._live.page(url))

    def _record(self, asked: dict[str, Json], text: str) -> str:
        key, at = _key(asked), datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            # Two attempts may ask the same at once: both get the first answer.
            if key not in self._index:
                name = "page" if "url" in asked else "search"
                write_json(
                    self._folder / name / f"{key}.json", {**asked, "text": text, "source": self._source, "at": at}
                )
                self._index[key] = text
            return self._index[key]


def _key(entry: dict[str, Json]) -> str:
    if "url" in entry:
        return stable_hash(["page", entry["url"]], 32)
    query = " ".join(entry["query"].split())
    return stable_hash(["search", query, entry.get("count"), entry.get("english")], 32)


class Brave:
    """The web search of Brave, and pages as they are now."""

    def __init__(self, tools: Tools, key: str, *, local_pages: bool = False):
        """local_pages : also pages of this machine and its network, which a model must not read."""
        self._tools, self._key_of_service, self._local = tools, key, local_pages

    def search(self, query: str, count: int, english: bool) -> str:
        """Search; the service returns at most 20 results."""
        asked: dict[str, str | int] = {"q": query, "count": max(1, min(count, MAX_RESULTS))}
        if english:
            asked["search_lang"] = "en"
        request = urllib.request.Request(
            f"{self._tools.url}?{urllib.parse.urlencode(asked)}",
            headers={"Accept": "application/json", "X-Subscription-Token": self._key_of_service},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._tools.timeout_s) as answer:
                found = json.loads(answer.read())
            results = (found.get("web") or {}).get("results") or []
            return (
                "\n\n".join(
                    f"[index] {number}\n[title] {result.get('title', '')}\n[url] {result['url']}\n"
                    f"[snippet] {_text_of(result.get('description') or '')}"
                    for number, result in enumerate(results, 1)
                )
                or "The search has no results."
            )
        except urllib.error.HTTPError as error:
            # Some queries are refused for what they are, such as one that is too long: that is an answer.
            if error.code == 422:
                return "The search service refused this query (422): shorten or change it."
            raise ToolFailure(f"the search service answered {error.code}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ToolFailure(f"the search service failed: {type(error).__name__}") from None

    def page(self, url: str) -> str:
        """Read a page as text; one that cannot be read is a text that says so."""
        try:
            opener = urllib.request.build_opener(_Public(self._local))
            request = urllib.request.Request(_public(url, self._local), headers={"User-Agent": "Mozilla/5.0"})
            with opener.open(request, timeout=self._tools.timeout_s) as answer:
                kind = answer.headers.get_content_type()
                if not kind.startswith("text/") and kind not in ("application/json", "application/xhtml+xml"):
                    return f"The page cannot be read: it is {kind}, not text."
                data = answer.read(MAX_BYTES).decode(answer.headers.get_content_charset() or "utf-8", errors="replace")
        except urllib.error.HTTPError as error:
            return f"The page cannot be read: the server answered {error.code}."
        except (OSError, ValueError, LookupError) as error:
            return f"The page cannot be read: {type(error).__name__}."
        text = _text_of(data) if "html" in kind else data
        return text[: self._tools.page_chars] or "The page has no text."


class _Public(urllib.request.HTTPRedirectHandler):
    """Follows redirections to public addresses only."""

    def __init__(self, local: bool):
        self._local = local

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return super().redirect_request(req, fp, code, msg, headers, _public(newurl, self._local))


def _public(url: str, local: bool) -> str:
    """Return the address of a page; ValueError if it is none of the public web, such as one of this machine's network."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no address of the web")
    if not local:
        for *_, address in sockets.getaddrinfo(parts.hostname, None):
            if not ipaddress.ip_address(address[0]).is_global:
                raise ValueError("not a public address")
    return urllib.parse.quote(url, safe=":/?#[]@!$&'()*+,;=%~")


class _Text(html.parser.HTMLParser):
    """Collects the text of a page, a line for each block."""

    HIDDEN = ("script", "style", "noscript", "template", "svg")
    INLINE = ("a", "b", "i", "em", "strong", "span", "code", "sup", "sub", "small", "mark", "u")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in self.HIDDEN
        self.parts.append(" | " if tag in ("td", "th") else "" if tag in self.INLINE else "\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self.HIDDEN))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data.replace("\n", " "))


def _text_of(page: str) -> str:
    parser = _Text()
    parser.feed(page)
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)


def cache_of(tools: Tools, folder: Path) -> Path:
    """Return the folder of recordings of a run."""
    return Path(tools.cache) if tools.cache is not None else folder / "web"


def check(tools: Tools, key: str) -> None:
    """Raise HarnessError unless there are recordings, or a live service and its key.

    key : place of the settings in conf/, for messages.
    """
    if tools.backend != "none" and not os.environ.get(tools.key_env):
        raise HarnessError(
            f"`{key}.backend` is {tools.backend}, and {tools.key_env}, which `{key}.key_env` names, is not set. Export the "
            f"key of the service, or use recordings only: `{key}.backend: none` with a folder in `{key}.cache`."
        )
    if tools.backend == "none" and tools.cache is None:
        raise HarnessError(
            f"the agent needs search and page tools, and there is neither a recorded cache nor a live service. Name a "
            f"folder of recordings in `{key}.cache`, or set `{key}.backend: brave` and export its key as {tools.key_env}."
        )
    if tools.cache is not None and tools.backend == "none" and not any(Path(tools.cache).rglob("*.json")):
        raise HarnessError(
            f"`{key}.cache` is `{tools.cache}`, which has no recordings. Name the folder that a live run filled, or set "
            f"`{key}.backend`."
        )


def build(tools: Tools, folder: Path, *, local_pages: bool = False) -> SearchTools:
    """Build the tools of a run, whose settings were checked."""
    live = None if tools.backend == "none" else Brave(tools, os.environ[tools.key_env], local_pages=local_pages)
    return Recorded(cache_of(tools, folder), live, tools.backend)


@contextlib.contextmanager
def served(tools: SearchTools, socket: Path) -> Iterator[None]:
    """Answer /search and /page at a Unix socket while the block runs: a text, or a failure with status 502."""
    import asyncio

    async def answer(request: "web.Request", session: "ClientSession") -> "web.Response":
        from aiohttp import web

        asked = await request.json()
        call = functools.partial(
            tools.search if request.path == "/search" else tools.page, **asked
        )  # its arguments are those of the driver
        try:
            return web.json_response({"text": await asyncio.to_thread(call)})
        except ToolFailure as failure:
            return web.json_response({"failure": str(failure)}, status=502)

    with serving.served({"/search": answer, "/page": answer}, socket):
        yield
