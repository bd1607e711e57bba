"""Plain asserts in the behaviours explain themselves, as in test modules."""

import pytest

pytest.register_assert_rewrite("tests.conformance.behaviours", "tests.conformance.kit")
