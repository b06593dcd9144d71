"""Tools asked of a live server by the Model Context Protocol, through its own SDK (the extra `mcp`).

The answer becomes a document as the server sent it: no key is lost or moved. Everything is bounded: the time,
the bytes, the pages. Values of the environment go to the server alone; they are neither kept nor shown.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from adaptman.errors import SourceError

if TYPE_CHECKING:
    from mcp import ClientSession

MAX_BYTES = 8 << 20
MAX_PAGES = 1_000
_MAX_TOLD = 600
_HIDDEN = "…"


@dataclass(frozen=True)
class Server:
    """A server to be asked: a command line (stdio) or a URL (streamable HTTP).

    `environment` names variables that the command is given beside the few that every program needs; `headers`
    maps a header's name to the variable that holds its value. `seconds` is for all of it.
    """

    target: str
    environment: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 30.0

    @property
    def remote(self) -> bool:
        """Whether it is asked by HTTP."""
        return self.target.startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """How messages call it: the program, or the address without user, password and query."""
        if not self.remote:
            return Path(_words(self.target)[0]).name
        parts = urlsplit(self.target)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def list_tools(server: Server) -> bytes:
    """The tools of a server as one document: `{"tools": [...]}`, each as the server wrote it.

    Raises:
        SourceError: the SDK is not installed, a variable is not set, the server cannot be started or reached,
            does not answer in time, sends too much, or answers with an error.
    """
    _check_installed()
    environment = {name: _variable(name) for name in server.environment}
    headers = {header: _variable(name) for header, name in server.headers.items()}
    secrets = [value for value in (*environment.values(), *headers.values()) if value]
    import anyio

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors, _quiet():
        try:
            tools = anyio.run(_asked_in_time, server, environment, headers, errors)
        except BaseException as error:
            problem = _told(error, server)
            if problem is None:
                raise
            raise _failure(server, problem, errors, secrets) from None
    return json.dumps({"tools": tools}, ensure_ascii=False).encode()


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise SourceError(
            "the SDK of the Model Context Protocol is not installed", hint="pip install 'adaptman[mcp]'"
        )


def _variable(name: str) -> str:
    if "=" in name:
        raise SourceError(
            f"`{name.partition('=')[0]}` is given with a value",
            hint="name the variable alone: commands end up in histories and logs",
        )
    value = os.environ.get(name)
    if value is None:
        raise SourceError(f"the variable `{name}` is not set", hint=f"set it: `export {name}=…`")
    return value


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SourceError(
            f"`{command[:80]}` cannot be read as a command: {error}", hint="mind the quotes"
        ) from None
    if not words:
        raise SourceError("there is no command to start", hint='write `--mcp "COMMAND …"` or `--mcp URL`')
    return words


async def _asked_in_time(
    server: Server, environment: Mapping[str, str], headers: Mapping[str, str], errors: TextIO
) -> list[Any]:
    import anyio

    with anyio.fail_after(server.seconds):
        async with _connected(server, environment, headers, errors) as session:
            return [tool async for tool in _pages(session)]


@contextlib.asynccontextmanager
async def _connected(
    server: Server, environment: Mapping[str, str], headers: Mapping[str, str], errors: TextIO
) -> AsyncIterator[ClientSession]:
    from mcp import ClientSession, StdioServerParameters, stdio_client

    if server.remote:
        transport: Any = _http(server, headers)
    else:
        # Between the server and us, a program that counts.
        counted = [str(Path(__file__).with_name("limited.py")), str(2 * MAX_BYTES), *_words(server.target)]
        parameters = StdioServerParameters(command=sys.executable, args=counted, env=dict(environment))
        transport = stdio_client(parameters, errlog=errors)
    async with transport as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        yield session


@contextlib.asynccontextmanager
async def _http(server: Server, headers: Mapping[str, str]) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(
            headers=dict(headers), timeout=server.seconds, event_hooks={"response": [_checked_response]}
        ) as client,
        streamable_http_client(
            server.target, http_client=client, max_sse_event_size=2 * MAX_BYTES, terminate_on_close=True
        ) as streams,
    ):
        yield streams


class _RefusedError(Exception):
    """The server answered with a status that is no answer, or with too much."""


async def _checked_response(response: Any) -> None:
    """Tell a refusal by its status, and count what is read."""
    if response.request.method == "POST" and response.status_code >= 300:
        where = response.headers.get("location")
        raise _RefusedError(
            f"it answers with status {response.status_code}"
            + (f" and points to `{where[:120]}`" if where else "")
        )
    stream = response.stream

    class _Counted(type(stream)):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = 2 * MAX_BYTES
            async for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    raise _RefusedError(_too_much())
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    response.stream = _Counted()


def _too_much() -> str:
    return f"it sends more than {2 * MAX_BYTES >> 20} MiB"


async def _pages(session: ClientSession) -> AsyncIterator[Any]:
    """The tools of all pages, as they came over the wire."""
    from mcp import types
    from pydantic import TypeAdapter

    as_sent = TypeAdapter(dict[str, Any])
    cursor: str | None = None
    seen: set[str] = set()
    size = 0
    for _ in range(MAX_PAGES):
        parameters = types.PaginatedRequestParams(cursor=cursor) if cursor is not None else None
        request = types.ListToolsRequest(params=parameters)
        found = await session.send_request(request, as_sent)  # type: ignore[type-var]
        size += len(json.dumps(found))
        if size > MAX_BYTES:
            raise _RefusedError(f"its tools take more than {MAX_BYTES >> 20} MiB")
        tools = found.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            yield tool
        cursor = found.get("nextCursor")
        if not cursor:
            return
        if cursor in seen:
            raise _RefusedError(f"its pages go round in a circle, at the cursor `{str(cursor)[:60]}`")
        seen.add(cursor)
    raise _RefusedError(f"its list does not end within {MAX_PAGES:,} pages")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The SDK logs what it raises, too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _told(error: BaseException, server: Server) -> str | None:
    """What went wrong in words; None for what is no failure of the server."""
    found = _innermost(error)
    if isinstance(found, SourceError):
        return None
    if isinstance(found, _RefusedError):
        return str(found)
    if isinstance(found, TimeoutError):
        return f"it has not answered within {server.seconds:g} s"
    if type(found).__name__ == "MCPError":
        return f"it answers with an error: {str(found)[:200]}"
    if type(found).__module__.startswith(("httpx2", "httpcore2", "ssl")):
        return f"it cannot be reached: {str(found)[:200] or type(found).__name__}"
    if isinstance(found, (OSError, ValueError, RuntimeError)):
        return (
            f"it cannot be asked: {str(found).splitlines()[0][:200] if str(found) else type(found).__name__}"
        )
    return None


def _innermost(error: BaseException) -> BaseException:
    """The first failure in a group: the SDK runs tasks beside one another."""
    while isinstance(error, BaseExceptionGroup):
        known = [
            one for one in error.exceptions if isinstance(_innermost(one), (_RefusedError, TimeoutError))
        ]
        error = (known or list(error.exceptions))[0]
    return error


def _failure(server: Server, problem: str, errors: TextIO, secrets: Sequence[str]) -> SourceError:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 8 * _MAX_TOLD))
    said = errors.read().strip()
    if "closed" in problem.lower() and not server.remote:
        problem = "it ended before it had answered"
    for secret in secrets:
        problem, said = problem.replace(secret, _HIDDEN), said.replace(secret, _HIDDEN)
    last = "\n".join(said.splitlines()[-5:])[-_MAX_TOLD:]
    told = f"; it says:\n{last}" if last else ""
    return SourceError(
        f"`{server.name}`: {problem}{told}",
        hint="try it by hand, or give it more time with `--timeout SECONDS`"
        if "within" in problem
        else "see that the command or address is right and that the server runs",
    )
