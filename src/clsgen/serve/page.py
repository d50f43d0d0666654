"""The page and the API's documentation: files that come with the package, none from another host."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(str(resources.files("clsgen.serve") / "static"))
SWAGGER = Path(str(resources.files("fastapi_offline") / "static"))


def add_pages(app: FastAPI) -> None:
    """GET / and /docs, and what they load."""
    add_static(app)
    app.mount("/swagger", StaticFiles(directory=SWAGGER), name="swagger")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "page.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")


def add_static(app: FastAPI) -> None:
    """GET /static/..., and the icon that browsers ask for unasked."""
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> RedirectResponse:
        return RedirectResponse("/static/icon.svg")
