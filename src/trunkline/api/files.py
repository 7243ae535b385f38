"""Answers that are kept as files by whoever asked."""

from __future__ import annotations

from fastapi.responses import Response


def as_file(content: str | bytes, media_type: str, name: str) -> Response:
    """Content that a browser stores under a name instead of showing it."""
    return Response(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
