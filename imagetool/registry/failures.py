"""What goes wrong on the wire, as our errors: one line that says what, and whether to try again."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore2
import trio

from imagetool.registry.errors import TransportError, Untrusted, clean
from imagetool.registry.urls import Url


@contextmanager
def deadline(url: Url, seconds: float) -> Iterator[trio.CancelScope]:
    with trio.move_on_after(seconds) as scope:
        yield scope
        return
    if scope.cancelled_caught:
        raise TransportError(f"{url.origin.authority} does not answer in time", transient=True)


@contextmanager
def mapped(url: Url, proxy: str = "") -> Iterator[None]:
    """httpcore2's errors as ours: one line, and whether to try again. `proxy` is what a connection is made to."""
    who = url.origin.authority
    try:
        yield
    except httpcore2.TimeoutException as error:
        doing = "connect to" if isinstance(error, httpcore2.ConnectTimeout) else "hear from"
        by_way = f" by way of the proxy {proxy}" if proxy else ""
        raise TransportError(f"could not {doing} {who}{by_way} in time", transient=True) from error
    except httpcore2.ConnectError as error:
        raise _connect_error(url, proxy, error) from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        text = f"connection to {who} broke: {_reason(error)}"
        raise TransportError(text, transient=True) from error
    except httpcore2.ProxyError as error:
        raise TransportError(f"the proxy refuses to connect to {who}: {clean(str(error))}") from error
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise TransportError(f"cannot send a request to {who}: {clean(str(error))}") from error


def _connect_error(url: Url, proxy: str, error: BaseException) -> TransportError:
    who = url.origin.authority
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = f"the certificate of {who} is not trusted: {cause.verify_message}"
            return Untrusted(
                text,
                hint=f"put its authority into /etc/containers/certs.d/{who}/ca.crt, or the same below ~/.config",
            )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "handshake failed").replace("_", " ").lower()
            hint = f"if {who} speaks plain http, mark it insecure in registries.conf"
            return TransportError(f"no TLS connection to {who}: {reason}", hint=hint)
    refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
    unknown = any(isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN for cause in causes)
    hint = "is the registry running?" if refused else "is the name right?" if unknown else ""
    if proxy:
        who, hint = f"the proxy {proxy}", "see HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment"
    text = f"cannot connect to {who}: {_reason(error)}"
    return TransportError(text, hint=hint, transient=not (refused or unknown))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was made from, and the members of groups (a connect tries several addresses)."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        cause = todo.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [cause.__cause__, cause.__context__]
        todo += list(cause.exceptions) if isinstance(cause, BaseExceptionGroup) else []


def _reason(error: BaseException) -> str:
    """The system's own words if there are some: they are the shortest."""
    found = [cause for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    if not found:
        return clean(str(error) or type(error).__name__)
    last = found[-1]
    known = last.errno is not None and last.errno > 0 and not isinstance(last, ssl.SSLError)
    return clean(os.strerror(last.errno) if known and last.errno else last.strerror or "")
