"""The recorded tables that come with the package are those of the repository's results."""

from pathlib import Path

import pytest

from syre_helpers import data

RESULTS = Path(__file__).parents[2] / "results"
TABLES = Path(data.__file__).parent / "tables"
NAMES = sorted(file.stem for file in TABLES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_each_table_is_the_recorded_one(name):
    copy, original = (folder / f"{name}.csv" for folder in (TABLES, RESULTS))
    assert copy.read_bytes() == original.read_bytes(), f"copy {original.name} to {TABLES}"
    assert len(data.recorded(name))


def test_another_name_is_answered():
    with pytest.raises(ValueError, match=r"name='nothing'.*census_units"):
        data.recorded("nothing")
