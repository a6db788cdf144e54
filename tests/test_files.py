"""Files a stranger may have made: what is readable, and how everything else is refused."""

import io
import json
import os
import socket
import struct
import zipfile
from string import ascii_letters

import numpy as np
import pytest

from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, read_bytes, read_json, shown, write_arrays


def refused(read, *arguments):
    """Return the one line with which something is refused."""
    with pytest.raises(RobolearnError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def npy(header, data=b"", *, magic=b"\x93NUMPY\x01\x00"):
    return magic + struct.pack("<H", len(header)) + header.encode("latin-1") + data


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


ONE_FLOAT = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", b"\0\0\x80\x3f")


def test_bytes_come_back_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    assert "5 bytes, expected 4 at most" in refused(read_bytes, path, 4)


def test_a_symbolic_link_is_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    assert "symbolic link" in refused(read_bytes, tmp_path / "link", 100)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path, tmp_path / "socket", tmp_path / "missing"):
            assert str(path) in refused(read_bytes, path, 100)
    assert "no regular file" in refused(read_bytes, tmp_path / "pipe", 100)
    assert "no regular file" in refused(read_bytes, tmp_path.__class__("/dev/zero"), 100)
    assert "null byte" in refused(read_bytes, tmp_path / "a\0b", 100)


def test_json_comes_back_with_infinity_and_nan(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"high": Infinity, "mean": NaN, "names": ["a"]}')
    data = read_json(path)
    assert data["high"] == np.inf
    assert np.isnan(data["mean"])
    assert data["names"] == ["a"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"a": "\xff"}', "invalid start byte"),
        (b'{"a": 1', "delimiter"),
        (b'{"a":' + b"[" * 100_000, "nests too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300"),
        (b"[1, 2]", "must hold a JSON object, got [1, 2]"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, text, found):
    path = tmp_path / "file.json"
    path.write_bytes(text)
    message = refused(read_json, path)
    assert str(path) in message
    assert found in message


def test_json_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": "b" * 100}))
    assert "109 bytes, expected 50 at most" in refused(read_json, path, 50)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.array([[True], [False]]),
        np.array(3.5),
        np.zeros((0, 4), np.uint8),
        np.arange(3, dtype=">i2"),
        np.arange(600_000, dtype=np.complex128),  # several chunks
        np.arange(10.0)[::3],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_as_they_were(tmp_path, array):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": array, "rewards.0": np.ones(2)})
    back = read_arrays(path)
    assert list(back) == ["a", "rewards.0"]
    assert back["a"].dtype == array.dtype
    np.testing.assert_array_equal(back["a"], array)
    back["a"][...] = 0  # it is memory of its own


def test_numpy_reads_our_arrays_and_we_read_numpys(tmp_path):
    write_arrays(tmp_path / "ours.npz", {"a": np.arange(3), "b": np.eye(2)})
    with np.load(tmp_path / "ours.npz") as theirs:
        np.testing.assert_array_equal(theirs["a"], [0, 1, 2])
        np.testing.assert_array_equal(theirs["b"], [[1, 0], [0, 1]])
    np.savez(tmp_path / "theirs.npz", a=np.arange(3), b=np.array(2.5, np.float16))
    ours = read_arrays(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(ours["a"], [0, 1, 2])
    assert ours["b"] == 2.5


def test_equal_arrays_make_equal_bytes(tmp_path, monkeypatch):
    write_arrays(tmp_path / "first", {"a": np.arange(3)})
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_arrays(tmp_path / "second", {"a": np.arange(3)})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([{}]), np.zeros(1, "V4")])
def test_only_numbers_are_written(tmp_path, array):
    with pytest.raises(TypeError, match="must hold numbers or truth values"):
        write_arrays(tmp_path / "arrays.npz", {"a": array})
    assert not (tmp_path / "arrays.npz").exists()


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a..b", "a\n"])
def test_only_plain_names_are_written_and_read(tmp_path, name):
    with pytest.raises(ValueError, match="A name is letters"):
        write_arrays(tmp_path / "arrays.npz", {name: np.ones(1)})
    path = archive(tmp_path / "theirs.npz", {f"{name}.npy": ONE_FLOAT})
    assert "expected plain names" in refused(read_arrays, path)


def test_pickles_in_an_archive_are_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "marker"), "w"))

    np.savez(tmp_path / "trap.npz", a=np.array([Trap()], dtype=object))
    assert "must hold numbers" in refused(read_arrays, tmp_path / "trap.npz")
    assert not (tmp_path / "marker").exists()


def test_compressed_archives_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10_000_000))
    message = refused(read_arrays, tmp_path / "bomb.npz")
    assert "'a.npy'" in message
    assert "compressed" in message


def test_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as file:
        file.writestr("a.npy", ONE_FLOAT)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", ONE_FLOAT)
    assert "holds a name twice" in refused(read_arrays, tmp_path / "twice.npz")


def test_members_that_share_their_bytes_are_refused(tmp_path):
    path = archive(tmp_path / "overlap.npz", {"a.npy": ONE_FLOAT, "b.npy": ONE_FLOAT})
    data = path.read_bytes()
    central = data.index(b"PK\x01\x02")
    first = data[central : central + 46 + len("a.npy")]
    # Forty entries, all of them the first member of 72 bytes: together more than there is.
    entries = [first.replace(b"a.npy", letter.encode() + b".npy") for letter in ascii_letters[:40]]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 40, 40, sum(map(len, entries)), central, 0)
    path.write_bytes(data[:central] + b"".join(entries) + end)
    assert "members declare 2,880 bytes" in refused(read_arrays, path)


@pytest.mark.parametrize(
    ("member", "found"),
    [
        (b"", "begins with"),
        (b"\x80\x04K\x01.", "begins with"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }\n"), "40,000,"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99, 0), }\n", b"ab"), "holds 2"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 8), "'|O'"),
        (npy("{'descr': '<f9', 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 9), "'<f9'"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n"), "(-1,)"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", b"abc"), "holds 3"),
        (npy("{'descr': __import__('os').system('true')}\n"), "__import__"),
        (npy(" " * 40_000), "40,000 bytes, expected 1,024"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 40 + "1), }\n"), "41"),
        (npy("{}", magic=b"\x93NUMPY\x02\x00"), "begins with"),
    ],
)
def test_a_member_that_lies_about_itself_is_refused(tmp_path, member, found):
    message = refused(read_arrays, archive(tmp_path / "arrays.npz", {"a.npy": member}))
    assert "'a.npy'" in message
    assert "arrays.npz" in message
    assert found in message


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.zeros(1000)})
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)
    assert "CRC-32 for file 'a.npy'" in refused(read_arrays, path)


def test_a_cut_archive_is_refused(tmp_path):
    whole = io.BytesIO()
    np.savez(whole, a=np.arange(100))
    (tmp_path / "cut.npz").write_bytes(whole.getvalue()[:-30])
    assert "does not end as one" in refused(read_arrays, tmp_path / "cut.npz")


def test_an_archive_of_a_great_many_members_is_refused_unread(tmp_path):
    names = (f"{k:06d}" for k in range(20_000))
    path = archive(tmp_path / "many.npz", dict.fromkeys(names, b""))
    # 20,000 entries of 46 bytes and 6 of name.
    assert "list of members of 1,040,000 bytes" not in refused(read_arrays, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("a" * 8571, b"")  # 1,040,000 + 46 + 8,571 = 2^20 + 41
    assert "1,048,617 bytes, expected 1,048,576 at most" in refused(read_arrays, path)


def test_the_list_of_a_zip64_archive_is_measured_too(tmp_path):
    path = archive(tmp_path / "many.npz", {"a.npy": ONE_FLOAT})
    whole = path.read_bytes()
    directory, end = whole[whole.index(b"PK\1\2") : -22], whole[-22:]
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**40, 102)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 102 + len(directory), 1)
    path.write_bytes(whole[:102] + directory + large + locator + end)
    assert "1,099,511,627,776 bytes, expected 1,048,576" in refused(read_arrays, path)


def test_messages_show_values_on_one_short_line():
    assert shown("a\nb") == "'a\\nb'"
    assert shown(1 << 100_000) == "a number of 100001 bits"
    assert len(shown([["x" * 1000] * 1000] * 1000)) <= 80
