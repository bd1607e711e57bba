"""Sizes and ages in Docker's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import units
from imagetool.errors import Malformed, UsageError

DAY = 86400


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (5, "5B"),
        (79, "79B"),
        (999, "999B"),
        (1000, "1kB"),
        (2048, "2.05kB"),
        (78_123_456, "78.1MB"),
        (167_400_000, "167MB"),
        (999_949, "1MB"),
        (1_230_000_000, "1.23GB"),
        (10**24, "1YB"),
        (10**27, "1e+03YB"),
    ],
)
def test_three_significant_digits_in_base_1000(size: int, text: str) -> None:
    assert units.size_text(size) == text


def test_base_1024() -> None:
    assert units.binary_size_text(1536) == "1.5KiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (9, "9 seconds"),
        (60, "About a minute"),
        (240, "4 minutes"),
        (3600, "About an hour"),
        (47.4 * 3600, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (21 * DAY, "3 weeks"),
        (70 * DAY, "2 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert units.age_text(seconds) == text


def test_since() -> None:
    now = units.parse_time("2024-05-22T12:00:00Z")
    assert units.since_text("2024-05-01T14:00:00.123456789+02:00", now) == "3 weeks ago"
    assert units.since_text("2030-01-01T00:00:00Z", now) == "Less than a second ago"
    assert units.since_text("", now) == units.since_text("0001-01-01T00:00:00Z", now) == "N/A"


@given(st.integers(-(10**9), 4 * 10**9), st.sampled_from([0, 0.5, 0.25]))
def test_times_read_back(seconds: int, fraction: float) -> None:
    assert units.parse_time(units.time_text(seconds + fraction)) == seconds + fraction


@pytest.mark.parametrize(
    "text", ["", "2024", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:61Z", "x" * 99]
)
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        units.parse_time(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("10GB", 10**10),
        ("10GiB", 10 << 30),
        ("10g", 10 << 30),
        ("1.5k", 1536),
        ("5 MB", 5 * 10**6),
        ("7b", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1XB", "1.2.3", "GB", "1e9"])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        units.parse_size(text)
