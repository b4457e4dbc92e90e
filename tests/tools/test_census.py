"""The census: its rules on layers made by hand, its record, and the record against the weights."""

import importlib.metadata
import json
import math

import pandas as pd
import pytest
import torch

from syre_helpers import find_reflections
from tools.census import layers, networks, record, rotations
from tools.census.layers import Layer

TABLE = pd.read_csv(record.RESULTS / "census.csv")
UNITS = pd.read_csv(record.RESULTS / "census_units.csv")
FACTS = json.loads((record.RESULTS / "census.json").read_text())
COUNTS = ["by_weights", "by_function", "in_training", "confirmed"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(**changes):
    """Return a layer of eight healthy units with everything that can be measured."""
    healthy = {
        "incoming": normal(8, 20),
        "outgoing": normal(8, 30, seed=1),
        "gates": (torch.zeros(8),),
        "gain": torch.ones(8),
        "slope": torch.ones(8),
        "activity": torch.ones(8),
        "trace": torch.ones(8),
        "off": torch.zeros(8, dtype=torch.bool),
    }
    healthy["negated"] = torch.cat([healthy["incoming"], healthy["gain"][:, None]], 1)
    return Layer(name="made", activation="ReLU", **healthy | changes)


def with_unit(tensor, value, unit=3):
    changed = tensor.clone()
    changed[unit] = value
    return changed


def test_a_healthy_layer_has_no_dead_unit():
    found = layers.judged(layer())
    assert not torch.stack(list(found.values())).any()
    assert layers.unit_rows(layer()) == []


@pytest.mark.parametrize(
    ("changes", "by", "road"),
    [
        ({"gates": (torch.zeros(8), with_unit(torch.zeros(8), 4.1))}, "by weights", "closed gate"),
        ({"shut": with_unit(torch.zeros(8) > 0, True)}, "by weights", "closed gate"),
        ({"gain": with_unit(torch.ones(8), -0.009)}, "by weights", "low gain"),
        (
            {"gain": with_unit(torch.ones(8), 0.009), "slope": with_unit(torch.ones(8), 0.001)},
            "by weights",
            "flat point",
        ),
        ({"outgoing": with_unit(normal(8, 30, seed=1), 0.0)}, "by weights", "zero weights"),
        ({"negated": with_unit(normal(8, 21), 1e-4)}, "by weights", "mirror plane"),
        ({"activity": with_unit(torch.ones(8), 5e-4)}, "by function", "unknown"),
        (
            {
                "activity": with_unit(torch.ones(8), 0.0),
                "off": with_unit(torch.zeros(8) > 0, True),
            },
            "by function",
            "gate seen closed",
        ),
        ({"trace": with_unit(torch.ones(8), 1e-5)}, "in training", "unknown"),
    ],
)
def test_each_way_to_die_is_told(changes, by, road):
    found = layers.judged(layer(**changes))
    assert found[by].nonzero().flatten().tolist() == [3]
    assert not any(found[other].any() for other in layers.COUNTS if other != by)
    assert not found["confirmed"].any(), "one witness is none"
    (row,) = layers.unit_rows(layer(**changes))
    assert (row["unit"], row["road"]) == (3, road)


def test_two_counts_confirm_and_a_flat_activation_alone_does_not_kill():
    two = layer(gates=(with_unit(torch.zeros(8), 9.0),), activity=with_unit(torch.ones(8), 0.0))
    assert layers.judged(two)["confirmed"].nonzero().flatten().tolist() == [3]
    assert layers.layer_row(two)["confirmed"] == 1
    flat = layers.judged(layer(slope=torch.zeros(8)))
    assert not flat["by weights"].any()


def test_what_was_not_measured_is_missing_and_not_zero():
    row = layers.layer_row(layer(activity=None, trace=None, negated=None, off=None, gates=()))
    for name in ("by_function", "faint", "in_training", "gate_seen_closed", "nearest_plane"):
        assert row[name] is None, name
    assert row["largest_gate_alive"] is None
    assert row["by_weights"] == 0


def test_pairs_are_0_for_twins_and_the_root_of_2_for_strangers():
    rows = normal(6, 4000)
    assert layers.nearest_pair(rows)[0] == pytest.approx(math.sqrt(2), abs=0.1)
    twins = with_unit(rows, rows[0])
    assert layers.nearest_pair(twins) == (0.0, 1)
    near = with_unit(rows, rows[0] + 0.09 * rows[5])
    assert layers.nearest_pair(near) == (pytest.approx(0.09, abs=0.01), 1)
    assert math.isnan(layers.nearest_pair(rows[:1])[0])


def test_the_null_keeps_the_weights_and_loses_the_pairs():
    rows = normal(20, 300)
    tied = layer(
        incoming=torch.cat([rows, rows]), outgoing=None, negated=None, gates=(), gain=None,
        slope=None, activity=None, trace=None, off=None,
    )  # fmt: skip
    row = layers.layer_row(tied)
    assert row["nearest_pair"] < 1e-6
    assert row["twins"] == 20
    assert row["nearest_pair_null"] > 1
    assert row["numerical_rank"] == 20


def test_moments_are_matched_by_order_and_shape():
    weights = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    model = torch.nn.ParameterDict({n: torch.nn.Parameter(p + 1) for n, p in weights.items()})
    adam = torch.optim.Adam(model.parameters())
    model["b"].sum().backward()
    adam.step()
    moments = layers.second_moments(adam.state_dict(), weights)
    assert list(moments) == ["b"], "a had no gradient"
    with pytest.raises(ValueError, match="not in order: a"):
        layers.second_moments(adam.state_dict(), {"c": torch.zeros(4), "a": torch.zeros(2, 3)})


# ---- the record --------------------------------------------------------------------------------


def test_the_record_was_made_by_the_rules_of_today():
    assert FACTS["rules"] == {rule.lower(): getattr(layers, rule) for rule in record.RULES}
    assert list(TABLE.network.unique()) == list(FACTS["networks"]) == list(networks.NETWORKS)
    assert TABLE.kind.str.split(",").str[0].nunique() >= 3
    for name, own in networks.NETWORKS.items():
        kept = FACTS["networks"][name]
        assert (kept["package"], kept["file"], kept["licence"]) == (
            own.package, own.file, own.licence,
        )  # fmt: skip
        assert len(kept["sha256"]) == 64
    assert not FACTS["versions"]["commit"].endswith("dirty")


def test_the_counts_of_layers_are_those_of_units():
    roads = ["mirror_plane", "closed_gate", "low_gain", "zero_weights", "flat_point"]
    keys = ["network", "layer"]
    recount = UNITS.groupby(keys)[[*COUNTS, *roads]].sum()
    counted = TABLE.set_index(keys)[[*COUNTS, *roads]]
    recount = recount.reindex(counted.index, fill_value=0)
    missing = counted.isna()
    assert (recount.where(~missing) == counted.where(~missing)).where(~missing, True).all(axis=None)
    assert (UNITS[COUNTS[:3]].sum(axis=1) >= 2).equals(UNITS.confirmed)
    for row in UNITS.itertuples():
        by_road = {name: getattr(row, name.replace(" ", "_")) for name in layers.ROADS[:-1]}
        assert row.road == next((n for n, fits in by_road.items() if fits), "unknown")


CHEAP = ["Silero VAD", "CREPE tiny", "Resemblyzer", "CHGNet 0.3.0"]


@pytest.mark.parametrize(
    "name",
    [
        *CHEAP,
        *(pytest.param(n, marks=pytest.mark.slow) for n in networks.NETWORKS if n not in CHEAP),
    ],
)
def test_the_weights_give_the_recorded_numbers(name, monkeypatch):
    """Without the images, EfficientNet's counts by weights and by training are there to compare."""
    own, kept = networks.NETWORKS[name], FACTS["networks"][name]
    try:
        version = importlib.metadata.version(own.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{own.package} is not installed")
    if version != kept["version"]:
        pytest.skip(f"{own.package} {version} is not the recorded {kept['version']}")
    assert record.described(own) == kept
    monkeypatch.setattr(networks, "_pictures", lambda count, pixels: normal(4, 3, 32, 32))
    rows, units = record.counted(own)
    seen = {"by_function", "faint", "gate_seen_closed", "confirmed"}
    seen |= {"nearest_pair", "nearest_pair_null", "nearest_plane_null", "largest_gate_alive"}
    seen |= {"effective_rank", "numerical_rank", "full_rank"}
    left_out = seen if name == "EfficientNet-Lite0" else set()
    wanted = TABLE[TABLE.network == name].reset_index(drop=True).drop(columns=left_out)
    rows = rows.drop(columns=left_out)
    assert list(rows) == list(wanted)
    for column in wanted:
        if pd.api.types.is_numeric_dtype(wanted[column]):
            found = pd.to_numeric(rows[column]).astype(float)
            pd.testing.assert_series_equal(
                found, wanted[column].astype(float), rtol=1e-3, atol=1e-6, check_names=False
            )
        else:
            assert rows[column].fillna("").tolist() == wanted[column].fillna("").tolist()
    if not left_out:
        recorded = UNITS[UNITS.network == name]
        assert units.get("road", pd.Series(dtype=str)).tolist() == recorded.road.tolist()


# ---- rotations -----------------------------------------------------------------------------------

ROTATIONS = pd.read_csv(record.RESULTS / "census_rotations.csv")


def test_the_distance_from_a_rotation_plane_is_that_of_the_reflection():
    """And what rotates with a head is what the search for symmetries says."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(config).double()
    state = {name: value.detach() for name, value in model.named_parameters()}
    found = find_reflections(model, {"input_ids": torch.arange(10).view(2, 5)}, draws=3)
    families = [one for one in found if one.kind == "rotation"]
    heads = rotations.heads_of(state, "encoder.layer.0", 2)
    assert len(families) == len(heads) == 2
    for product, family in zip(heads, families, strict=True):
        for head, rows in enumerate(heads[product]):
            own = family.vectors(state)[head]
            values, expected = (torch.linalg.svdvals(one) for one in (rows, own))
            torch.testing.assert_close(values, expected)
            directions, spectrum, _ = torch.linalg.svd(own, full_matrices=False)
            plane = family.reflection(directions[:, -1], at=head)
            usual = spectrum.square().mean().sqrt()
            nearest = rotations.nearest_rotation(rows)
            assert nearest == pytest.approx(plane.distance(state) / float(usual))


def test_the_distance_is_0_where_a_rank_is_lost():
    rows = normal(5, 30).double()
    rows[2] = rows[0] - rows[4]
    assert rotations.nearest_rotation(rows) < 1e-12
    assert rotations.nearest_rotation(3 * torch.eye(4, 9)) == pytest.approx(1)


def test_the_record_has_every_head_and_the_weights_give_its_numbers():
    facts = json.loads((record.RESULTS / "census_rotations.json").read_text())
    own = networks.NETWORKS[rotations.NETWORK]
    assert facts["rules"] == {"on_plane": layers.ON_PLANE, "shuffles": layers.SHUFFLES}
    assert len(ROTATIONS) == rotations.LAYERS * rotations.HEADS * 2
    assert not ROTATIONS.isna().any(axis=None)
    try:
        importlib.metadata.version(own.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs {own.package}")
    weights = networks.packaged_weights(own.package, own.file)
    products = rotations.heads_of(weights, "encoder.layer.3", rotations.HEADS)
    for row in ROTATIONS[ROTATIONS.layer == "encoder.layer.3"].itertuples():
        rows = products[row.product][row.head]
        assert row.units == len(rows) == 32
        assert row.nearest_plane == pytest.approx(rotations.nearest_rotation(rows), rel=1e-4)
