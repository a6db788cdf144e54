"""Tensors come out of files of torch.save, and nothing in these files can do anything else."""

import io
import os
import pickle
import struct
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from robolearn.baselines.torch_files import read_state, stored_member
from robolearn.errors import RobolearnError


def saved(thing, **how):
    file = io.BytesIO()
    torch.save(thing, file, **how)
    return file.getvalue()


def rewritten(data, change, compression=zipfile.ZIP_STORED):
    """Return a zip with members, by the last part of their name, as ``change`` has them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            content = change.get(name.rsplit("/", 1)[-1], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def program(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("archive/data.pkl")


def refused(data, message):
    with pytest.raises(RobolearnError, match=message) as caught:
        read_state(data, "policy.pth")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


FOUR = saved({"a": torch.arange(4.0)})


def test_a_state_dictionary_comes_back_as_torch_reads_it():
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    data = saved(net.state_dict())
    theirs = torch.load(io.BytesIO(data), weights_only=True)
    ours = read_state(data, "policy.pth")
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor)
        assert ours[name].dtype == torch.float32


def test_a_scalar_and_shared_tensors_come_back():
    shared = torch.arange(6.0).reshape(2, 3)
    state = OrderedDict(first=shared, second=shared, scalar=torch.tensor(2.5))
    ours = read_state(saved(state), "policy.pth")
    assert torch.equal(ours["first"], shared)
    assert torch.equal(ours["second"], shared)
    assert ours["scalar"] == 2.5


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_a_pickle_that_calls_something_is_not_followed(tmp_path):
    trap = {"a": Trap(tmp_path / "marker")}
    refused(saved(trap), "it asks for posix mkdir")
    refused(rewritten(FOUR, {"data.pkl": pickle.dumps(trap, 4)}), "it has the instruction")
    refused(
        rewritten(FOUR, {"data.pkl": pickle.dumps(trap, 0)}), "it asks for posix mkdir|instruction"
    )
    assert not (tmp_path / "marker").exists()


def test_a_pickle_that_is_no_zip_is_not_followed(tmp_path):
    trap = Trap(tmp_path / "marker")
    refused(pickle.dumps(trap), "expected a zip")
    refused(saved({"a": trap}, _use_new_zipfile_serialization=False), "expected a zip")
    refused(b"", "expected a zip")
    assert not (tmp_path / "marker").exists()


def test_a_key_of_tuples_of_tuples_is_refused_at_once():
    # Each tuple holds the one before twice, so that the last has 2^60 leaves to be hashed.
    pairs = b"".join(b"h%c\x86q%c" % (k, k + 1) for k in range(60))
    start = time.perf_counter()
    refused(rewritten(FOUR, {"data.pkl": b"\x80\x02})q\0" + pairs + b"K\x01s."}), "no string")
    assert time.perf_counter() - start < 1


def test_a_tensor_of_a_great_many_axes_is_refused_at_once():
    body = program(FOUR).replace(b"K\x04\x85q", b"(" + b"K\xff" * 200_000 + b"tq", 1)
    start = time.perf_counter()
    refused(rewritten(FOUR, {"data.pkl": body}), "a tensor of 200000 axes")
    assert time.perf_counter() - start < 5


def number(count):
    """Return the instruction that pushes a number."""
    return b"\x8a\x08" + struct.pack("<q", count)


@pytest.mark.parametrize(
    ("length", "shape", "stride", "message"),
    [
        (10**9, 10**9, 1, "expected it to be all of the 4 there are"),
        (4, 10**9, 0, r"stride \(0,\), expected \(1,\)"),
        (4, 10**9, 1, "expected it to be all of the 4 there are"),
        (4, 2, 1, "expected it to be all of the 4 there are"),
        (4, 0, 1, "expected something in it"),
        (4, -4, 1, "without storage, shape or stride"),
        (-4, 4, 1, "no storage"),
    ],
)
def test_a_tensor_that_is_not_what_is_there_is_refused(length, shape, stride, message):
    body = program(FOUR)
    body = body.replace(b"K\x04tq", number(length) + b"tq", 1)
    body = body.replace(b"QK\0K\x04\x85", b"QK\0" + number(shape) + b"\x85", 1)
    body = body.replace(b"K\x01\x85", number(stride) + b"\x85", 1)
    refused(rewritten(FOUR, {"data.pkl": body}), message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"QK\0K\x04", b"QK\x01K\x04", "from 1 on in 4 numbers"),
        (b"ctorch\nFloatStorage\n", b"K\x01", "not float32"),
        (b"X\x07\0\0\0storage", b"X\x07\0\0\0another", "no storage"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", "makes no tensor"),
    ],
)
def test_a_pickle_that_means_something_else_is_refused(old, new, message):
    body = program(FOUR)
    assert old in body
    refused(rewritten(FOUR, {"data.pkl": body.replace(old, new, 1)}), message)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": torch.zeros(2, dtype=torch.float64)}, "torch DoubleStorage"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "torch LongStorage"),
        ({"a": torch.zeros(2, 3).T}, "stride"),
        ({"a": torch.zeros(3)[1:]}, "expected it to be all of the 3"),
        ({"a": torch.tensor([1.0, torch.nan])}, "not finite"),
        ({"a": torch.tensor([torch.inf])}, "not finite"),
        ({"a": 5}, "'a' in policy.pth must be a tensor, got 5"),
        ({5: torch.zeros(2)}, "a key that is no string"),
        ([torch.zeros(2)], "EMPTY_LIST"),
        (torch.zeros(2), "must hold a dictionary of tensors"),
    ],
)
def test_other_things_than_dense_float32_tensors_are_refused(state, message):
    refused(saved(state), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.pkl": b"\x80\x02}"}, "it has no end|not describe"),
        ({"data.pkl": b"."}, "not describe"),
        ({"data.pkl": b"\x80\x02}q\0K\x01u."}, "not describe"),
        ({"data.pkl": b""}, "not describe"),
        ({"data.pkl": None}, "must hold one 'data.pkl', got 0"),
        ({"data.pkl": b"K\x01" * 600_000}, "1,200,000 bytes, expected 1,048,576"),
        ({"0": None}, "numbers in '0', which is missing"),
        ({"0": b"abc"}, "no float32"),
        ({"0": b"\0" * 20}, "all of the 5 there are"),
        ({"byteorder": b"big"}, "little-endian"),
    ],
)
def test_a_damaged_file_is_refused(change, message):
    refused(rewritten(FOUR, change), message)


def test_a_compressed_file_is_refused_before_it_is_inflated():
    bomb = rewritten(FOUR, {"0": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    refused(bomb, "compressed or encrypted")
    with pytest.raises(RobolearnError, match="compressed or encrypted"):
        stored_member(bomb, "archive/data/0", "model.zip")


def test_an_encrypted_member_is_refused():
    data = bytearray(FOUR)
    entry = data.index(b"PK\1\2")
    data[entry + 8] |= 1  # its general purpose flags
    refused(bytes(data), "compressed or encrypted")


def test_a_member_that_is_not_there_is_named():
    with pytest.raises(RobolearnError, match=r"model.zip holds no 'policy.pth', but \['archive/"):
        stored_member(FOUR, "policy.pth", "model.zip")
