"""PURE but for the dice: names of containers, chosen by people or made up."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

from imagetool.errors import UsageError


def _words(text: str) -> list[str]:
    return text.split()


_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ADJECTIVES = _words("""
    able agile amber ample apt avid basic bold brave brisk calm candid civil clear clever cosy crisp curious
    daring deft eager early easy exact fair fast fine firm fond frank fresh gentle glad golden grand great happy
    hardy honest humble jolly keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble open
    patient plain polite prime proud quick quiet rapid ready rosy sane sharp silent simple sleek smart snug solid
    sound spry steady still sunny sure swift tidy tough trusty upbeat vivid warm wise witty young zesty
""")
_NOUNS = _words("""
    abel ampere babbage bell bohr boole borg bose cantor cauchy cerf church curie darwin dijkstra dirac edison
    einstein engelbart euclid euler faraday fermat fermi feynman fourier franklin galileo galois gauss germain
    goedel goodall hamilton hamming hawking heisenberg hertz hilbert hodgkin hooke hopper hubble huygens hypatia
    joule kalman kay kelvin kepler kernighan knuth kovalevskaya lagrange lamarr lamport laplace leibniz liskov
    lovelace mach maxwell mccarthy meitner mendel milner minsky newton nobel noether ohm pascal pasteur pauli
    perlman planck poincare ptolemy ramanujan riemann ritchie russell sagan shannon tesla thompson torvalds
    turing volta watt wiles wilson wirth wozniak
""")


def check(name: str) -> str:
    """The name; UsageError with Docker's rule if it cannot be one."""
    if not _VALID.fullmatch(name):
        text = f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        raise UsageError(text, hint="two characters at least")
    return name


def choose(taken: Collection[str]) -> str:
    """A free adjective_noun."""
    for attempt in range(1000):
        name = f"{_any(_ADJECTIVES)}_{_any(_NOUNS)}" + (str(attempt) if attempt > 10 else "")
        if name not in taken:
            return name
    raise UsageError("no name is free", hint="give one with --name")


def _any(words: Sequence[str]) -> str:
    return words[int.from_bytes(os.urandom(4)) % len(words)]
