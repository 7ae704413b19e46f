"""A mock hub on this machine: revisions, file lists and files of repositories, and the paths that it was asked for."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub:
    """The repositories of a mock hub; a test moves a branch or removes a commit by changing its dictionaries."""

    def __init__(self) -> None:
        self.url = ""
        self.branches: dict[tuple[str, str], str] = {}
        """Commit by repository and branch."""
        self.commits: dict[str, Path] = {}
        """Folder of the files by commit."""
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and content for a path."""
        self.asked.append(path)
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 6:
            repository, kind, commit = "/".join(parts[2:4]), parts[4], self._commit("/".join(parts[2:4]), parts[5])
            if commit is None:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            files = [_entry(file) for file in sorted(self.commits[commit].iterdir())]
            found = {"id": repository, "sha": commit, "siblings": []} if kind == "revision" else files
            return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()
        repository, commit = "/".join(parts[:2]), self._commit("/".join(parts[:2]), parts[3])
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        file = self.commits[commit] / "/".join(parts[4:])
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        entry = _entry(file)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(entry["size"])} if "lfs" in entry else {}
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"', **linked}, file.read_bytes()

    def _commit(self, repository: str, revision: str) -> str | None:
        commit = self.branches.get((repository, revision), revision)
        return commit if commit in self.commits else None


def _entry(file: Path) -> dict:
    data = file.read_bytes()
    entry = {
        "type": "file",
        "path": file.name,
        "size": len(data),
        "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    }
    if file.suffix == ".safetensors":
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


@contextmanager
def serving(hub: Hub) -> Iterator[Mapping[str, str]]:
    """Serve a hub while the block runs; yields the environment in which commands ask it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
