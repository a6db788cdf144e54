"""A checkpoint is there whole or not at all, and what is not what was written is not read."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save

from robolearn.errors import RobolearnError
from robolearn.runs.checkpoint import read_checkpoint, read_state, write_checkpoint

STATE = {"agent": "test", "steps": 7, "bound": float("inf")}
TENSORS = {
    "net": {
        "weight": torch.arange(6.0).reshape(2, 3),
        "count": torch.tensor(3.0, dtype=torch.float64),
    },
    "random": {"train": torch.arange(5, dtype=torch.uint8)},
    "empty": {},
}


@pytest.fixture
def folder(tmp_path):
    write_checkpoint(tmp_path / "agent", STATE, TENSORS)
    return tmp_path / "agent"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(change(manifest), indent=2, sort_keys=True) + "\n")


def relist(folder, change):
    """Let a manifest list other files, as it would be written if it were so."""
    rewrite_manifest(folder, lambda m: {**m, "files": change(m["files"])})


def test_what_was_written_is_read_back(folder):
    state, tensors = read_checkpoint(folder)
    assert state == STATE
    assert read_state(folder) == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, group in TENSORS.items():
        assert tensors[name].keys() == group.keys()
        for key, tensor in group.items():
            assert tensors[name][key].dtype == tensor.dtype
            assert torch.equal(tensors[name][key], tensor)


def test_views_and_transposed_tensors_are_written_as_they_look(tmp_path):
    matrix = torch.arange(6.0).reshape(2, 3)
    write_checkpoint(tmp_path / "x", {}, {"net": {"turned": matrix.T, "row": matrix[1]}})
    tensors = read_checkpoint(tmp_path / "x")[1]["net"]
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["row"].tolist() == [3, 4, 5]


def test_the_files_are_those_of_the_safetensors_library(tmp_path):
    group = {
        "flags": torch.tensor([True, False, True]),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "numbers": torch.tensor([[1, -2], [3, 2**40]]).T,
        "precise": torch.linspace(0, 1, 5, dtype=torch.float64)[::2],
    }
    write_checkpoint(tmp_path / "mixed", STATE, {"net": group})
    data = (tmp_path / "mixed" / "net.safetensors").read_bytes()
    assert data == save({name: tensor.contiguous() for name, tensor in group.items()})


def test_writing_a_large_tensor_holds_it_in_memory_once(tmp_path):
    tracemalloc.start()
    write_checkpoint(tmp_path / "large", STATE, {"replay": {"obs": torch.zeros(2**25)}})
    peak = tracemalloc.get_traced_memory()[1]  # of Python objects, as copies of it would be
    tracemalloc.stop()
    assert peak < 2**22
    assert (tmp_path / "large" / "replay.safetensors").stat().st_size > 2**27


def test_only_json_and_safetensors_are_written(folder):
    expected = ["empty.safetensors", "manifest.json", "net.safetensors", "random.safetensors"]
    assert names(folder) == [*expected, "state.json"]


def test_a_newer_checkpoint_replaces_an_older_one_and_leaves_no_litter(folder):
    write_checkpoint(folder, {"agent": "newer"}, {"net": {"weight": torch.zeros(1)}})
    state, tensors = read_checkpoint(folder)
    assert state["agent"] == "newer"
    assert tensors.keys() == {"net"}
    assert names(folder.parent) == ["agent"]


@pytest.mark.parametrize(
    ("state", "tensors", "error"),
    [
        ({"agent": object()}, {}, TypeError),  # JSON cannot hold it
        ({}, {"net": {"x": torch.zeros(2)}, "bad": {"y": torch.zeros(2).to_sparse()}}, Exception),
        ({}, {"net": {"x": torch.zeros(2)}, "no/such/folder": {}}, OSError),
    ],
    ids=["state", "tensor", "file"],
)
def test_a_failure_half_way_leaves_the_older_one_and_no_litter(folder, state, tensors, error):
    before = content(folder)
    with pytest.raises(error):
        write_checkpoint(folder, state, tensors)
    assert content(folder) == before
    assert names(folder.parent) == ["agent"]


def test_a_failure_half_way_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path / "agent", {"agent": object()}, {})
    assert names(tmp_path) == []


def test_a_failed_rename_puts_the_older_one_back(folder, monkeypatch):
    before = content(folder)
    rename = type(folder).rename

    def fail(path, target):
        if path.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(type(folder), "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_checkpoint(folder, {"agent": "newer"}, {})
    assert content(folder) == before
    assert names(folder.parent) == ["agent"]


def test_a_folder_that_is_no_checkpoint_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RobolearnError, match="is no checkpoint"):
        write_checkpoint(tmp_path, STATE, TENSORS)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / "agent").write_text("mine")
    with pytest.raises(RobolearnError, match="is no checkpoint"):
        write_checkpoint(tmp_path / "agent", STATE, TENSORS)
    assert (tmp_path / "agent").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["state.json", "manifest.json", "net.safetensors", "random.safetensors"]
)
def test_every_flipped_byte_is_noticed(folder, name):
    path = folder / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(RobolearnError):
            read_checkpoint(folder)
    path.write_bytes(whole)
    read_checkpoint(folder)


@pytest.mark.parametrize("name", ["state.json", "manifest.json", "net.safetensors"])
def test_every_cut_is_noticed(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RobolearnError):
            read_checkpoint(folder)


@pytest.mark.parametrize("name", ["state.json", "manifest.json", "random.safetensors"])
def test_a_missing_file_is_noticed(folder, name):
    (folder / name).unlink()
    with pytest.raises(RobolearnError, match="manifest"):
        read_checkpoint(folder)
    with pytest.raises(RobolearnError, match="manifest"):
        read_state(folder)


def test_the_message_of_a_damaged_file_names_it(folder):
    (folder / "net.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RobolearnError, match=r"net\.safetensors is damaged: 8 bytes"):
        read_checkpoint(folder)


def test_a_name_outside_the_folder_is_refused(folder):
    shutil.copy(folder / "net.safetensors", folder.parent / "net.safetensors")
    relist(folder, lambda files: {**files, "../net.safetensors": files["net.safetensors"]})
    with pytest.raises(RobolearnError, match="lacks the file"):
        read_checkpoint(folder)


def test_an_absolute_name_is_refused(folder):
    outside = folder.parent / "net.safetensors"
    shutil.copy(folder / "net.safetensors", outside)
    relist(folder, lambda files: {**files, str(outside): files["net.safetensors"]})
    with pytest.raises(RobolearnError, match="lacks the file"):
        read_checkpoint(folder)


def test_a_link_is_refused_even_to_the_right_content(folder):
    outside = folder.parent / "outside"
    (folder / "net.safetensors").rename(outside)
    (folder / "net.safetensors").symlink_to(outside)
    with pytest.raises(RobolearnError, match="lacks the file"):
        read_checkpoint(folder)


def test_a_state_the_manifest_does_not_vouch_for_is_not_read(folder):
    relist(folder, lambda files: {k: v for k, v in files.items() if k != "state.json"})
    with pytest.raises(RobolearnError, match="does not list"):
        read_checkpoint(folder)


@pytest.mark.parametrize("nonsense", [[], 3, None])
def test_a_manifest_of_another_shape_is_refused(folder, nonsense):
    rewrite_manifest(folder, lambda _: nonsense)
    with pytest.raises(RobolearnError, match=r"manifest\.json"):
        read_checkpoint(folder)


@pytest.mark.parametrize("nonsense", [[], 3, None, {"state.json": 3}, {"state.json": None}])
def test_a_manifest_that_lists_nonsense_is_refused(folder, nonsense):
    relist(folder, lambda _: nonsense)
    with pytest.raises(RobolearnError, match="damaged"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "write",
    [
        lambda m: json.dumps(m),
        lambda m: json.dumps(m, indent=2, sort_keys=True),  # without the last line break
        lambda m: json.dumps({**m, "more": 1}, indent=2, sort_keys=True) + "\n",
    ],
    ids=["on one line", "cut", "with more"],
)
def test_a_manifest_that_says_the_same_in_another_way_is_refused(folder, write):
    path = folder / "manifest.json"
    path.write_text(write(json.loads(path.read_text())))
    with pytest.raises(RobolearnError, match="not what was written"):
        read_checkpoint(folder)


def test_a_file_the_manifest_does_not_list_is_not_read(folder):
    shutil.copy(folder / "net.safetensors", folder / "extra.safetensors")
    assert "extra" not in read_checkpoint(folder)[1]


@pytest.mark.parametrize("schema", [1, 2, "3", None])
def test_another_schema_is_refused(folder, schema):
    rewrite_manifest(folder, lambda m: {**m, "schema": schema})
    with pytest.raises(RobolearnError, match=f"schema {schema!r}, expected 3"):
        read_checkpoint(folder)


def test_a_manifest_of_the_first_schema_which_lists_files_alone_is_refused(folder):
    rewrite_manifest(folder, lambda m: m["files"])
    with pytest.raises(RobolearnError, match="schema None, expected 3"):
        read_checkpoint(folder)


def test_a_state_may_have_a_schema_of_its_own(tmp_path):
    write_checkpoint(tmp_path / "x", {"schema": 9}, {})
    assert read_state(tmp_path / "x") == {"schema": 9}


def test_the_state_alone_is_not_read_from_a_checkpoint_with_a_damaged_tensor(folder):
    (folder / "net.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RobolearnError, match=r"net\.safetensors is damaged: 8 bytes"):
        read_state(folder)


def test_a_folder_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(RobolearnError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)
