"""Property values between the engine and the plugin."""

from rehearsal.kubernetes_plugin import wire


def test_whole_numbers_secrets_and_nulls_survive_the_way_to_the_engine_and_back() -> None:
    """A replica count that arrives as 1.0, or a secret that loses its mark, breaks a release."""
    given = {"a": 1, "b": 1.5, "c": wire.secret({"k": "v"}), "d": None, "e": [True, 2]}
    back = wire.load(wire.dump(given))
    assert back == given
    assert isinstance(back["a"], int)
    assert wire.reveal(back)["c"] == {"k": "v"}


def test_differences_name_paths_that_the_engine_can_show() -> None:
    """A changed value must appear at its own path, also when its key is no identifier."""
    old = {"values": {"a": 1, "x.y/z": 1, "l": [1]}, "gone": 1}
    new = {"values": {"a": 2, "x.y/z": 2, "l": [1, 2]}}
    assert dict(wire.differences(old, new)) == {
        "gone": "DELETE",
        "values.a": "UPDATE",
        'values["x.y/z"]': "UPDATE",
        "values.l[1]": "ADD",
    }
    assert wire.top_level('["x.y/z"].a') == "x.y/z"
    assert wire.top_level("values.l[1]") == "values"


def test_true_and_one_differ() -> None:
    """Python takes True for 1; in a chart they render differently."""
    assert dict(wire.differences({"a": True}, {"a": 1})) == {"a": "UPDATE"}


def test_secret_texts_are_masked_in_messages() -> None:
    """An error of helm that quotes a value must not print the token."""
    properties = {"values": wire.secret({"token": "abcdefgh"}), "name": "vace-gpu"}
    assert wire.masked("bad abcdefgh in vace-gpu", properties) == "bad [secret] in vace-gpu"


def test_a_name_is_the_same_for_the_same_seed() -> None:
    """Preview and up must agree on a name that nobody has chosen."""
    assert wire.random_name("r", b"s") == wire.random_name("r", b"s")
    assert wire.random_name("r", b"") != wire.random_name("r", b"")
