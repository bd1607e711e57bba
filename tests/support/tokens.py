"""A token server as distribution's "Token Authentication Specification" describes it, for a real docker-registry.

Anonymous callers may pull what is below `public/`; the known user may pull everything and push everything
but what is below `foreign/`. Every request is recorded.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import load_pem_x509_certificate

from tests.support.hostile import Server

ISSUER = "tests"
SERVICE = "registry of tests"
USER, PASSWORD, REFRESH = "alice", "correct horse", "refresh-token-of-alice"


class Asked(NamedTuple):
    """One request: who asked (user name or nothing), and for which scopes."""

    method: str
    user: str
    scopes: list[str]


class TokenServer:
    """`asked` lists all requests; `seconds` is the life time of tokens; `section` configures docker-registry."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[Asked] = []
        self.seconds = 300
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        leaf = authority.issue_cert("tokens.test", key_type=trustme.KeyType.ECDSA)
        self._bundle = folder / "tokens-ca.pem"
        authority.cert_pem.write_to_path(self._bundle)
        certificate = load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        self._chain = [_base64(certificate.public_bytes(serialization.Encoding.DER))]
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self.address = ""

    @property
    def section(self) -> dict[str, str]:
        realm = f"http://{self.address}/token"
        return {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self._bundle)}

    def token(self, user: str, scopes: list[str]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.seconds,
            "jti": str(len(self.asked)),
            "access": [_granted(user, scope) for scope in scopes],
        }
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        signed = f"{_url64(json.dumps(head).encode())}.{_url64(json.dumps(claims).encode())}"
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    state = TokenServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            user = _basic_user(self.headers.get("Authorization", ""))
            self._answer("GET", user, query.get("scope", []))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            user = USER if form.get("refresh_token") == [REFRESH] else None
            self._answer("POST", user, " ".join(form.get("scope", [])).split())

        def _answer(self, method: str, user: str | None, scopes: list[str]) -> None:
            state.asked.append(Asked(method, user or "", scopes))
            row: dict[str, Any] = {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
            if user is not None:
                name = "access_token" if method == "POST" else "token"
                row = {name: state.token(user, scopes), "expires_in": state.seconds}
            body = json.dumps(row).encode()
            self.send_response(401 if user is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        state.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _basic_user(header: str) -> str | None:
    """The user, nothing for anonymous; None for a wrong password."""
    if not header:
        return ""
    user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    return user if (user, password) == (USER, PASSWORD) else None


def _granted(user: str, scope: str) -> dict[str, Any]:
    kind, name, actions = scope.rsplit(":", 2) if scope.count(":") == 2 else (*scope.split(":"), "")[:3]
    wanted = actions.split(",")
    if user != USER:
        wanted = [action for action in wanted if action == "pull" and name.startswith("public/")]
    elif name.startswith("foreign/"):
        wanted = [action for action in wanted if action == "pull"]
    return {"type": kind, "name": name, "actions": wanted}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
