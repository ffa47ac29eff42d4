"""The web pages of the service: files of this package; a browser loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_PAGES = {"/": "page", "/audit": "audit"}


def page_routes() -> list[Route]:
    """Each page, its style and its script."""
    routes = []
    for path, name in _PAGES.items():
        routes.append(_route(path, f"{name}.html"))
        routes += [_route(f"/{name}.{ending}", f"{name}.{ending}") for ending in ("css", "js")]
    return routes


def _route(path: str, name: str) -> Route:
    kind = _KINDS[name.rpartition(".")[2]]

    async def show(_: Request) -> Response:
        text = files("gigafactory.chat").joinpath("web", name).read_text("utf-8")
        return Response(text, media_type=kind, headers={"Content-Security-Policy": _POLICY})

    return Route(path, show)
