"""An administrator's own operations and profiles: what is taken, and what each mistake is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmseal.seal import catalogue
from vmseal.seal.catalogue import Operation, Profile, dropins
from vmseal.seal.errors import CatalogueError, UnknownOperation

GOOD = """\
# Our own agent.
[[operation]]
name = "our-agent"
why = "clones report as the source"
class = "identity"
profile = "default"
remove = ["/var/lib/our-agent/*"]
"""


def wrong(folder: Path, text: str | bytes) -> str:
    """Return the error that a drop-in ends in, without the folder's name."""
    (folder / "own.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CatalogueError) as caught:
        dropins.load(folder)
    return caught.value.message.replace(f"{folder}/", "")


def test_a_drop_in_is_one_more_catalogue(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD)
    names = [operation.name for operation in dropins.load(tmp_path)]
    assert "our-agent" in names
    assert set(names) - {"our-agent"} == {operation.name for operation in catalogue.load()}


def test_without_a_folder_there_are_the_programs_operations(tmp_path: Path) -> None:
    assert dropins.load(tmp_path / "none") == catalogue.load()


def test_files_without_the_suffix_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml.disabled").write_text("nonsense")
    assert dropins.load(tmp_path) == catalogue.load()


MISTAKES = [
    (GOOD + "colour = 'red'\n", "own.toml:8: operation our-agent: colour is not known"),
    (GOOD + "after = 'yes'\n", "own.toml:8: operation our-agent: after is 'yes', not true or false"),
    (GOOD + "empty = '/x'\n", "own.toml:8: operation our-agent: empty is '/x', not a list"),
    (GOOD.replace("/var/lib/our", "var/lib/our"), "own.toml:7: operation our-agent: 'var/lib/our-agent/*' does not"),
    (GOOD.replace("/our-agent/*", "/../our"), "own.toml:7: operation our-agent: '/var/lib/../our' is not a plain path"),
    (GOOD.replace("default", "all"), "own.toml:6: operation our-agent: profile is 'all'; there are sysprep"),
    (GOOD.replace("our-agent", "Our Agent", 1), "own.toml:3: operation Our Agent: 'Our Agent' is not a name"),
    (GOOD + "name = 'twice'\n", "own.toml:8: Cannot overwrite a value"),
    (GOOD + "[[operation\n", "own.toml:8: "),
    ("[operation]\nname = 'x'\n", "own.toml:1: operation is not a list"),
    ("title = 'x'\n" + GOOD, "own.toml:1: title is not known"),
    (b"\xff\xfe", "own.toml:1: cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert wrong(tmp_path, text).startswith(message)


def test_an_operation_of_a_name_that_there_is_already_names_both_places(tmp_path: Path) -> None:
    text = wrong(tmp_path, GOOD.replace("our-agent", "agent-ids", 1))
    assert text.startswith("own.toml:2: operation agent-ids is already defined in ")
    assert "identity.toml:" in text
    assert "own.toml:8: operation our-agent is already defined in own.toml:2" in wrong(
        tmp_path, GOOD + GOOD.partition("\n")[2]
    )


def test_a_code_that_there_is_not_is_told_with_those_there_are(tmp_path: Path) -> None:
    text = wrong(tmp_path, GOOD + "code = 'run-anything'\n")
    assert text.startswith("own.toml:2: operation our-agent: there is no code run-anything; there are all-logs, ")


@pytest.mark.parametrize(
    "path", ["/*", "/**", "/e*", "/**/x", "/usr", "/{opt,etc}", "/etc/*", "/var/**", "/home", "/var/lib/*", "/bin/*"]
)
@pytest.mark.parametrize("key", ["remove", "remove_files", "remove_files_under", "empty"])
def test_what_would_leave_no_system_is_refused(tmp_path: Path, key: str, path: str) -> None:
    text = wrong(tmp_path, GOOD.replace("remove = ", f"{key} = ").replace("/var/lib/our-agent/*", path))
    assert "would take the guest's system away" in text


@pytest.mark.parametrize(
    "path", ["/srv", "/opt/*", "/home/*", "/root/*", "/core*", "/etc/*.conf", "/usr/local/x", "~/*"]
)
def test_what_leaves_a_system_is_taken(tmp_path: Path, path: str) -> None:
    (tmp_path / "own.toml").write_text(GOOD.replace("/var/lib/our-agent/*", path))
    assert len(dropins.load(tmp_path)) == len(catalogue.load()) + 1


def test_huge_values_are_refused(tmp_path: Path) -> None:
    assert "longer than 4096" in wrong(tmp_path, GOOD.replace("clones", "c" * 5000))
    assert "longer than 4096" in wrong(tmp_path, GOOD.replace("our-agent/*", "x" * 5000))
    paths = ", ".join(f"'/x/{number}'" for number in range(1001))
    assert "1002 paths are more than 1000" in wrong(tmp_path, GOOD + f"empty = [{paths}]\n")
    assert "at most 1048576 bytes" in wrong(tmp_path, "#" * (1 << 20) + "\n")
    content = f"write = [{{ path = '/x', content = '{'c' * 70000}' }}]\n"
    assert "longer than 65536" in wrong(tmp_path, GOOD + content)


def test_too_many_operations_are_refused(tmp_path: Path) -> None:
    table = "[[operation]]\nname='o{}'\nwhy=''\nclass='log'\nprofile='none'\nempty=['/x']\n"
    text = wrong(tmp_path, "".join(table.format(number) for number in range(1001)))
    assert text == "own.toml:6001: operation o1000: more than 1000 operations"


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.toml").mkdir()
    with pytest.raises(CatalogueError, match=r"own\.toml:1: "):
        dropins.load(tmp_path)


# ------------------------------------------------------------------------------------------------------------ profiles


@pytest.fixture(scope="module")
def operations() -> tuple[Operation, ...]:
    return catalogue.load()


def test_a_profile_adds_to_its_base_and_leaves_out(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    (tmp_path / "web.toml").write_text(
        'why = "our web servers"\nbase = "default"\nadd = ["tls-private-keys"]\nleave_out = ["ssh-authorized-keys"]\n'
    )
    profile = dropins.profile("web", operations, tmp_path)
    names = [operation.name for operation in profile.chosen(operations)]
    assert "tls-private-keys" in names
    assert "ssh-authorized-keys" not in names
    assert "agent-ids" in names
    assert "wireless" not in names
    assert names == [operation.name for operation in operations if operation.name in names]


def test_the_base_none_holds_only_what_is_added(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    (tmp_path / "logs.toml").write_text('base = "none"\nadd = ["all-logs"]\n')
    chosen = dropins.profile("logs", operations, tmp_path).chosen(operations)
    assert [operation.name for operation in chosen] == ["all-logs"]


def test_every_base_holds_the_smaller_ones(operations: tuple[Operation, ...]) -> None:
    bases = (Profile.SYSPREP, Profile.DEFAULT, Profile.THOROUGH)
    sizes = [set(dropins.OwnProfile(name="x", base=base).chosen(operations)) for base in bases]
    assert sizes[0] <= sizes[1] < sizes[2]


def test_a_profile_that_there_is_not_is_told_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text('base = "default"\n')
    with pytest.raises(UnknownOperation, match="'wbe'; there are sysprep, default, thorough, web"):
        dropins.profile("wbe", (), tmp_path)


def test_a_profile_can_be_named_by_the_path_of_its_file(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    (tmp_path / "web.toml").write_text('base = "default"\n')
    assert dropins.profile(str(tmp_path / "web.toml"), operations).base is Profile.DEFAULT
    with pytest.raises(CatalogueError, match=r"none\.toml:1: cannot be read: .*No such file"):
        dropins.profile(str(tmp_path / "none.toml"), operations)


def test_words_choose_from_an_administrators_profile_and_drop_ins(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD)
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "web.toml").write_text('base = "none"\nadd = ["all-logs", "mailname"]\n')

    def names(profile: str, words: list[str] | None = None) -> list[str]:
        return [found.name for found in dropins.select(profile, words, folder=tmp_path, profiles=profiles)]

    assert names("web") == ["all-logs", "mailname"]
    assert names("web", ["defaults", "our-agent", "-mailname"]) == ["all-logs", "our-agent"]
    assert names("web", ["machine-id", "all-logs", "-defaults"]) == ["machine-id"]
    assert "our-agent" in names("default")
    assert "our-agent" not in names("sysprep")
    assert names("default", ["our-agent"]) == ["our-agent"]


PROFILE_MISTAKES = [
    ("", "web.toml:1: base is None; there are sysprep, default, thorough, none"),
    ("base = 'full'\n", "web.toml:1: base is 'full'"),
    ("base = 'default'\nadd = 'all-logs'\n", "web.toml:2: add is 'all-logs', not a list"),
    ("base = 'default'\nadd = [1]\n", "web.toml:2: add is [1], not a list"),
    ("base = 'default'\n\nleave_out = ['al-logs']\n", "web.toml:3: leave_out names 'al-logs': there is no such"),
    ("base = 'default'\nadd = ['all-logs']\nleave_out = ['all-logs']\n", "web.toml:3: all-logs is both"),
    ("base = 'default'\nremove = ['/x']\n", "web.toml:2: remove is not known; there are why, base, add"),
    ("base = 'default'\n[table]\n", "web.toml:2: table is not known"),
    ("base = \n", "web.toml:1: "),
    ("base = 'default'\nwhy = 3\n", "web.toml:2: why is 3, not a text"),
    (f"base = 'default'\nadd = ['{'x' * 9999}']\n", "web.toml:2: add names 'xxx"),
]


@pytest.mark.parametrize(("text", "message"), PROFILE_MISTAKES)
def test_a_mistake_in_a_profile_is_told_with_file_and_line(
    tmp_path: Path, operations: tuple[Operation, ...], text: str, message: str
) -> None:
    (tmp_path / "web.toml").write_text(text)
    with pytest.raises(CatalogueError) as caught:
        dropins.profile("web", operations, tmp_path)
    assert caught.value.message.replace(f"{tmp_path}/", "").startswith(message)
    assert len(caught.value.message) < 600


def test_a_profile_does_not_take_the_name_of_one_of_the_programs(tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text("base = 'none'\n")
    with pytest.raises(CatalogueError, match=r"default\.toml:1: .*rename"):
        dropins.profile("default", (), tmp_path)


def test_the_examples_of_the_documentation_are_right(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    page = Path(__file__).parents[3] / "docs/how-to/own-operations.md"
    operation, own_profile = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "our-agent.toml").write_text(operation)
    assert len(dropins.load(tmp_path)) == len(operations) + 1
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "web.toml").write_text(own_profile)
    assert dropins.profile("web", operations, profiles).leave_out == ("ssh-userdir", "ssh-authorized-keys")


def test_a_drop_in_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD)
    dropins.load(tmp_path)
    (tmp_path / "own.toml").write_text(GOOD + "# and an error\ncolour = 1\n")
    with pytest.raises(CatalogueError, match="colour"):
        dropins.load(tmp_path)
