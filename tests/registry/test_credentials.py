"""config.json and credential helpers, byte for byte as Docker's CLI keeps them (docker-engine §2.3)."""

from __future__ import annotations

import json
import os
import stat

import pytest

from onggi.registry.credentials import (
    ANONYMOUS,
    HUB_SERVER,
    CredentialError,
    Credentials,
    DockerConfig,
    Keychain,
)

SECRET = "correct horse"


@pytest.fixture
def config(tmp_path) -> DockerConfig:
    return DockerConfig(tmp_path / "docker")


def write(config: DockerConfig, document: object) -> None:
    config.path.parent.mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    config.path.write_text(text)


# --- the file -------------------------------------------------------------------------------


def test_the_stored_file_is_dockers_byte_for_byte(config):
    warning = config.store("127.0.0.1:5082", Credentials("u", "p"))
    assert (
        config.path.read_text()
        == '{\n\t"auths": {\n\t\t"127.0.0.1:5082": {\n\t\t\t"auth": "dTpw"\n\t\t}\n\t}\n}'
    )
    assert stat.S_IMODE(config.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.path.parent.stat().st_mode) == 0o700
    assert os.listdir(config.path.parent) == ["config.json"]
    assert warning.splitlines() == [
        f"WARNING! Your credentials are stored unencrypted in '{config.path}'.",
        "Configure a credential helper to remove this warning. See",
        "https://docs.docker.com/go/credential-store/",
    ]


def test_what_others_wrote_is_kept(config):
    write(config, {"HttpHeaders": {"X": "y"}, "auths": {"a.example": {"auth": "YTpi"}}, "psFormat": "<&>"})
    config.store("b.example", Credentials("u", "p"))
    document = json.loads(config.path.read_text())
    assert list(document) == ["HttpHeaders", "auths", "psFormat"]
    assert document["auths"] == {"a.example": {"auth": "YTpi"}, "b.example": {"auth": "dTpw"}}


def test_a_link_to_the_file_stays_a_link(config, tmp_path):
    write(config, {})
    real = tmp_path / "elsewhere.json"
    config.path.rename(real)
    config.path.symlink_to(real)
    config.store("a.example", Credentials("u", "p"))
    assert config.path.is_symlink()
    assert json.loads(real.read_text())["auths"] == {"a.example": {"auth": "dTpw"}}
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_logout_of_the_last_server_leaves_an_empty_object(config):
    config.store("a.example", Credentials("u", "p"))
    assert config.erase("a.example")
    assert config.path.read_text() == '{\n\t"auths": {}\n}'
    assert not config.erase("a.example")


def test_logout_without_a_file_makes_none(config):
    assert not config.erase("a.example")
    assert not config.path.exists()


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("a.example", "a.example"),
        ("https://a.example", "a.example"),
        ("https://a.example/v1/", "a.example"),
        ("http://a.example:5000/v2/", "a.example:5000"),
        ("a.example/some/path", "a.example"),
    ],
)
def test_servers_are_found_by_host(config, stored, asked):
    write(config, {"auths": {stored: {"auth": "dTpw"}}})
    assert config.get(asked) == Credentials("u", "p")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("a.example", "b.example"),
        ("a.example:5000", "a.example"),
        ("a.example", "a.example:5000"),
        ("index.docker.io", HUB_SERVER),
        ("https://index.docker.io/v2/", HUB_SERVER),
        ("evil-a.example", "a.example"),
    ],
)
def test_servers_that_only_look_alike(config, stored, asked):
    write(config, {"auths": {stored: {"auth": "dTpw"}}})
    assert config.get(asked) == ANONYMOUS


def test_the_exact_key_wins(config):
    write(config, {"auths": {"https://a.example": {"auth": "dTpw"}, "a.example": {"auth": "YTpi"}}})
    assert config.get("a.example") == Credentials("a", "b")


def test_docker_hub_has_its_own_key(tmp_path):
    keychain = Keychain(tmp_path)
    keychain.store(HUB_SERVER, Credentials("u", "p"))
    for domain in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert keychain.resolve(domain) == Credentials("u", "p")
    assert keychain.resolve("a.example") == ANONYMOUS


def test_a_password_may_have_colons_and_loses_its_nuls(config):
    write(config, {"auths": {"a.example": {"auth": "dTpwOnEAAA=="}}})
    assert config.get("a.example") == Credentials("u", "p:q")


def test_identity_and_registry_tokens(config):
    config.store("a.example", Credentials("u", identity_token="id"))
    assert json.loads(config.path.read_text())["auths"]["a.example"] == {
        "auth": "dTo=",
        "identitytoken": "id",
    }
    assert config.get("a.example").identity_token == "id"
    write(config, {"auths": {"a.example": {"registrytoken": "reg"}}})
    assert config.get("a.example").registry_token == "reg"


@pytest.mark.parametrize("auth", ["dQ==", "OnA=", "!!!!", "/w=="])
def test_an_auth_that_is_none(config, auth):
    write(config, {"auths": {"a.example": {"auth": auth}}})
    with pytest.raises(CredentialError, match="Invalid auth configuration file"):
        config.get("a.example")


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', '{"auths": []}', '{"auths": {"a.example": 3}}'])
def test_a_file_that_is_not_dockers(config, text):
    write(config, text)
    try:
        found = config.get("a.example")
    except CredentialError as error:
        assert str(config.path) in str(error)
        assert error.hint
    else:
        assert found == ANONYMOUS
    assert config.path.read_text() == text


def test_a_file_that_cannot_be_read(config):
    config.path.mkdir(parents=True)
    for action in (
        lambda: config.get("a.example"),
        lambda: config.store("a.example", Credentials("u", SECRET)),
    ):
        with pytest.raises(CredentialError, match="is a directory") as caught:
            action()
        assert str(config.path) in str(caught.value)
        assert SECRET not in str(caught.value)
    assert os.listdir(config.path.parent) == ["config.json"]


def test_a_directory_that_is_none(tmp_path):
    (tmp_path / "docker").write_text("")
    with pytest.raises(CredentialError, match="write .*docker") as caught:
        DockerConfig(tmp_path / "docker").store("a.example", Credentials("u", SECRET))
    assert "DOCKER_CONFIG" in caught.value.hint


def test_an_empty_file_is_an_empty_configuration(config):
    write(config, "")
    assert config.get("a.example") == ANONYMOUS


def test_secrets_do_not_show(config):
    credentials = Credentials("u", SECRET, SECRET, SECRET)
    assert SECRET not in repr(credentials)


# --- helpers --------------------------------------------------------------------------------

# Keeps one file per server, and a log of what it was asked; "failing" and "garbled" never work.
_HELPER = """\
#!/bin/sh
dir={directory}
text=$(cat)
printf '%s %s\\n' "$1" "$text" >> "$dir/log"
server=$(printf '%s' "$text" | sed -n 's/.*"ServerURL": *"\\([^"]*\\)".*/\\1/p')
[ -n "$server" ] || server=$text
file=$dir/$(printf '%s' "$server" | tr '/:' '__')
case $1 in
    store) printf '%s' "$text" > "$file" ;;
    get) [ -e "$file" ] || {{ echo "credentials not found in native keychain"; exit 1; }}; cat "$file" ;;
    erase) rm -f "$file" ;;
esac
"""


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """docker-credential-{test,failing,garbled} on the PATH; gives their directory."""
    directory = tmp_path / "helpers"
    directory.mkdir()
    scripts = {
        "test": _HELPER.format(directory=directory),
        "failing": "#!/bin/sh\ncat >/dev/null\necho 'the vault is sealed'\nexit 3\n",
        "silent": "#!/bin/sh\ncat >/dev/null\nexit 4\n",
        "garbled": "#!/bin/sh\ncat >/dev/null\necho 'no json'\n",
    }
    for name, text in scripts.items():
        path = directory / f"docker-credential-{name}"
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def log(helpers) -> list[str]:
    return (helpers / "log").read_text().splitlines()


def test_a_helper_keeps_what_the_file_does_not(config, helpers):
    write(config, {"credsStore": "test"})
    assert config.store("a.example", Credentials("u", SECRET)) == ""
    assert SECRET not in config.path.read_text()
    assert json.loads(config.path.read_text())["auths"] == {"a.example": {}}
    assert config.get("a.example") == Credentials("u", SECRET)
    assert config.erase("a.example")
    assert config.get("a.example") == ANONYMOUS
    assert json.loads(config.path.read_text()) == {"credsStore": "test", "auths": {}}
    verbs = [line.partition(" ")[0] for line in log(helpers)]
    assert verbs == ["store", "get", "erase", "get"]
    stored = json.loads(log(helpers)[0].partition(" ")[2])
    assert stored == {"ServerURL": "a.example", "Username": "u", "Secret": SECRET}
    assert log(helpers)[1] == "get a.example"


def test_a_helper_of_one_server_wins(config, helpers):
    write(config, {"credsStore": "failing", "credHelpers": {"a.example": "test"}})
    assert config.get("a.example") == ANONYMOUS
    with pytest.raises(CredentialError):
        config.get("b.example")


def test_a_helper_of_one_server_leaves_the_others_to_the_file(config, helpers):
    write(config, {"credHelpers": {"a.example": "test"}, "auths": {"b.example": {"auth": "dTpw"}}})
    assert config.get("b.example") == Credentials("u", "p")


def test_the_token_user_means_an_identity_token(config, helpers):
    write(config, {"credsStore": "test"})
    config.store("a.example", Credentials("u", identity_token="identity"))
    assert '"<token>"' in (helpers / "a.example").read_text()
    assert config.get("a.example") == Credentials(identity_token="identity")


def test_a_helper_that_fails(config, helpers):
    write(config, {"credsStore": "failing"})
    for action in (
        lambda: config.get("a.example"),
        lambda: config.store("a.example", Credentials("u", SECRET)),
    ):
        with pytest.raises(
            CredentialError, match=r"docker-credential-failing .*exit status 3, out: `the vault is sealed`"
        ) as caught:
            action()
        assert SECRET not in str(caught.value)
    assert json.loads(config.path.read_text()) == {"credsStore": "failing"}


def test_a_helper_that_fails_without_a_word(config, helpers):
    write(config, {"credsStore": "silent"})
    with pytest.raises(CredentialError, match=r"docker-credential-silent get: exit status 4"):
        config.get("a.example")


def test_a_helper_that_answers_nonsense(config, helpers):
    write(config, {"credsStore": "garbled"})
    with pytest.raises(CredentialError, match="docker-credential-garbled"):
        config.get("a.example")


def test_a_helper_that_is_not_installed(config, helpers):
    write(config, {"credsStore": "absent"})
    with pytest.raises(
        CredentialError, match=r"docker-credential-absent.*executable file not found in \$PATH"
    ):
        config.get("a.example")


def test_a_helper_that_is_no_program(config, helpers):
    write(config, {"credsStore": "broken"})
    path = helpers / "docker-credential-broken"
    path.write_text("neither a script nor a binary")
    path.chmod(0o755)
    with pytest.raises(CredentialError, match="docker-credential-broken.*: Exec format error"):
        config.get("a.example")


@pytest.mark.parametrize("name", ["../evil", "x/y", "/bin/sh"])
def test_a_helper_is_a_name_and_no_path(config, helpers, name):
    write(config, {"credsStore": name})
    with pytest.raises(CredentialError):
        config.get("a.example")


# --- DOCKER_AUTH_CONFIG ---------------------------------------------------------------------


def given(tmp_path, document: object) -> DockerConfig:
    text = document if isinstance(document, str) else json.dumps(document)
    return DockerConfig(tmp_path / "docker", text)


def test_the_environment_wins_over_the_file(tmp_path):
    config = given(tmp_path, {"auths": {"a.example": {"auth": "ZW52OnB3"}}})
    write(config, {"auths": {"a.example": {"auth": "dTpw"}, "b.example": {"auth": "dTpw"}}})
    assert config.get("a.example") == Credentials("env", "pw")
    assert config.get("b.example") == Credentials("u", "p")
    assert config.get("c.example") == ANONYMOUS


def test_the_environment_wins_over_a_helper(tmp_path):
    config = given(tmp_path, {"auths": {"https://a.example/v2/": {"auth": "ZW52OnB3"}}})
    write(config, {"credsStore": "absent"})
    assert config.get("a.example") == Credentials("env", "pw")
    with pytest.raises(CredentialError):
        config.get("b.example")


def test_login_and_logout_change_the_file_only(tmp_path):
    config = given(tmp_path, {"auths": {"a.example": {"auth": "ZW52OnB3"}}})
    config.store("a.example", Credentials("u", "p"))
    assert json.loads(config.path.read_text()) == {"auths": {"a.example": {"auth": "dTpw"}}}
    assert config.get("a.example") == Credentials("env", "pw")
    assert config.erase("a.example")
    assert config.get("a.example") == Credentials("env", "pw")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "invalid JSON, line 1"),
        ("[]", "not a JSON object"),
        ('{"auths": {"a.example": {"auth": "secretpw"}}}', "Invalid auth configuration file"),
    ],
)
def test_an_environment_that_is_not_dockers(tmp_path, text, reason):
    with pytest.raises(CredentialError) as caught:
        given(tmp_path, text).get("a.example")
    assert str(caught.value) == f"read DOCKER_AUTH_CONFIG: {reason}"
    assert caught.value.hint == "correct DOCKER_AUTH_CONFIG, or unset it"
