# SPDX-License-Identifier: Apache-2.0
"""/ and /web/: the web page. Its files hold nothing of this node; what they show, they ask the API for."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Final

from fastapi import APIRouter, Header, HTTPException, Request, Response, status

from flexnpu import web

router = APIRouter(include_in_schema=False)

# Whatever gets into the page runs no script that is not ours, tells nobody outside, and is shown in no frame.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered 304 while it is the same
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_files = cache(web.load)  # when first asked for


@router.get("/")
@router.get("/web/{name:path}")
async def page(request: Request, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A file of the page."""
    file = _files().get(request.url.path)
    if file is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Not Found")
    headers = {**_HEADERS, "ETag": file.etag}
    if if_none_match == file.etag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
