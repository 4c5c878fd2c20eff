"""Who may ask the app for what: Host and Origin are checked, every write needs the page's own token, and pages load nothing from elsewhere."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

SAFE = ("GET", "HEAD", "OPTIONS")
WRITE = "x-wordmint"  # the header with the page's token; a form of another site cannot send one
COOKIE = "wordmint"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Access:
    """Who may use the app."""

    host: str = "127.0.0.1"
    """The address that the app listens on."""
    token: str = ""
    """The password of those who come from other machines; without one, the app answers this machine alone."""
    read_only: bool = False
    write_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """What a page of this app sends along with every write."""


def check_address(host: str, token: str) -> None:
    """Check that only this machine reaches an app without a password; raise a ValueError otherwise."""
    if not (host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)) and len(token) < 8:
        raise ValueError(f"--host {host} opens the catalog to other machines; give them a password of 8 characters or more with --token PASSWORD")


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def guard(access: Access) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Return the middleware that refuses requests which are not for this app, or not from its pages."""

    async def answer(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        response = malformed(request) or entering(request, access) or refusal(request, access) or await follow(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Cache-Control"] = "no-cache" if request.scope["path"].startswith(("/static/", "/pictures/")) else "no-store"
        return response

    return answer


def malformed(request: Request) -> Response | None:
    """Refuse a request whose address cannot be read."""
    host = request.headers.get("host", "")
    try:
        urlsplit(f"//{host}")
    except ValueError:
        return refused(400, f"the request's Host {host!r} is no address; open the one that `wordmint ui` printed")
    return None


def entering(request: Request, access: Access) -> Response | None:
    """Exchange the password in an address for a cookie, so that it does not stay in the address."""
    given = request.query_params.get("token", "")
    if not access.token or request.method != "GET" or not hmac.compare_digest(given.encode(), access.token.encode()):
        return None
    response = RedirectResponse(request.url.path, status_code=303)
    response.set_cookie(COOKIE, proof(access.token), httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def refusal(request: Request, access: Access) -> Response | None:
    """Return why a request is refused, or None."""
    host = request.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    if not access.token and name not in (*LOCAL, access.host):  # a name of another site that its owner points to this machine
        return refused(421, f"this app answers to {', '.join(LOCAL)}, not to {name}")
    if access.token and not knows_token(request, access):
        return refused(401, "open the address that `wordmint ui` printed; it ends in ?token=")
    if request.method in SAFE:
        return None
    origin = request.headers.get("origin")
    if (origin and origin.partition("://")[2] != host) or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return refused(403, "this request comes from another site")
    if access.read_only:
        return refused(403, "this app only shows the catalog; start `wordmint ui` without --read-only to change it")
    if not hmac.compare_digest(request.headers.get(WRITE, "").encode(), access.write_token.encode()):
        return refused(403, "this page is older than the app; load it again")
    return None


def proof(token: str) -> str:
    """Return what shows that somebody knows a password, in the letters that a header may have."""
    return hashlib.sha256(token.encode()).hexdigest()


def knows_token(request: Request, access: Access) -> bool:
    given = request.cookies.get(COOKIE) or request.headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), proof(access.token).encode())


def refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)
