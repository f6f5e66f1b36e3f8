"""Every fault of docs/faults.md, made and survived through the command line."""

import pytest
from cases import TITLES, Case, all_cases
from place import Places


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """One tiny competition, prepared and trained once, copied for each fault."""
    return Places(tmp_path_factory.mktemp("places"))


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[pytest.mark.long] if c.long else []) for c in all_cases()]
)
def test_fault(case: Case, places: Places) -> None:
    assert case.how
    assert case.happens(places)


def test_every_row_has_a_case() -> None:
    assert {case.row for case in all_cases() if not case.long} == set(TITLES)
