"""Stand-in of a module of WideSearch: tools by the name that a model calls."""

from dataclasses import dataclass


@dataclass
class InternalResponse:
    data: object = None
    error: str | None = None


async def unreachable(**arguments):
    raise RuntimeError("the driver must replace this")


_default_tools = {"search_global": unreachable, "text_browser_view": unreachable}
