"""Answers to the page: conditional, compressed, and never to be taken for anything else."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

from werkzeug import Request, Response

__all__ = ["JSON", "Serve", "answer", "application", "refuse"]

JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

Serve = Callable[[Request], Response]


def application(serve: Serve) -> Callable[..., Any]:
    """A WSGI application that only reads."""

    @Request.application
    def read(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return refuse("Only GET and HEAD are known here.", 405)
        return serve(request)

    return read


def answer(request: Request, content: bytes, kind: str) -> Response:
    """A conditional, compressed answer."""
    tag = hashlib.sha256(content).hexdigest()[:24]
    takes_gzip = request.accept_encodings["gzip"] > 0
    if takes_gzip:
        content = gzip.compress(content, compresslevel=6, mtime=0)
    response = Response(content, content_type=kind)
    if takes_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(tag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request.environ)
    return response


def refuse(message: str, code: int) -> Response:
    """Why there is no such answer, as plain text."""
    response = Response(message, status=code, content_type=_TEXT)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
