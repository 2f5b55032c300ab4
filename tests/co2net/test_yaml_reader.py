import pytest

from co2net.yaml_reader import MAX_BYTES, parse_yaml, read_yaml
from co2net_runtime.errors import InputError


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1"),
        ("a: 1\na: 2", "the key 'a' occurs twice (line 2)"),
        ("a: &a {b: *a}", "aliases are not supported (line 1)"),
        ("a: &a [1, 1]\nb: [*a, *a]", "aliases are not supported (line 2)"),
        (nested(50_000), "nested more than 20 levels deep"),
        ("a: 2020-02-30", "does not fit its type"),
        ("a: !!bool x", "does not fit its type"),
        ("a: !!int x", "does not fit its type"),
        ("a: " + "9" * 5000, "does not fit its type"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!binary x", "base64"),
        ("{[1]: 2}", "unhashable"),
        ("<<: 5", "merging"),
        ("a: \x00", "special characters"),
    ],
)
def test_damaged_and_hostile_yaml_is_one_line(text, words):
    with pytest.raises(InputError) as error:
        parse_yaml(text, "config.yaml")
    assert str(error.value).startswith("config.yaml: not valid YAML: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_without_a_dot_are_numbers():
    assert parse_yaml("5e-5", "x") == 5e-5
    assert parse_yaml(nested(20), "x")


def test_files_are_bounded_and_may_have_a_byte_order_mark(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfseed: 1\n")
    assert read_yaml(file) == {"seed": 1}
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="more than"):
        read_yaml(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_yaml(file)
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path)
