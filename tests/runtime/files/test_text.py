import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.text import normalized, number_of, read_json, read_text


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9 \\u00e9"}')
    assert read_json(tmp_path / "a.json", "settings") == {"a": "é é"}
    assert read_text(tmp_path / "a.json", "settings").startswith("{")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\xfe\x00", "expected settings as text in UTF-8"),
        (b"", "expected settings as JSON"),
        (b"{", "expected settings as JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "expected settings as JSON"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a number of 401 digits"),
        (b'{"\\ud800": 1}', r"a character that does not exist, '\\ud800'"),
    ],
)
def test_broken_files_are_one_line(tmp_path, data, text):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=rf"^\S+a\.json: .*{text}") as caught:
        read_json(tmp_path / "a.json", "settings")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read the settings: No such file"):
        read_json(tmp_path / "a.json", "settings")


def test_names_are_compared_without_what_nobody_sees():
    for written in ("Jump", " Jump\t", "Ju\u200bmp\ufeff", "\u00a0Jump"):
        assert normalized(written) == "Jump"
    assert normalized("cafe\u0301  noir") == "caf\u00e9 noir"


def test_a_count_has_its_noun():
    assert [number_of(n, "class") for n in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
    assert [number_of(n, "entry") for n in (1, 3)] == ["1 entry", "3 entries"]
