import base64
import json

import pytest

from towline.wire.credential import Credential, InvalidCredential, of_entry, of_header
from towline.wire.reference import InvalidReference, parse_registry

REGISTRY = "registry.internal:5000"
PASSWORD = "Pässwörd?>~/+"
PULLER = Credential("puller", PASSWORD)


def header(**values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("values", "credential"),
    [
        ({"username": "puller", "password": PASSWORD}, PULLER),
        ({"username": "puller", "password": PASSWORD, "serveraddress": REGISTRY}, PULLER),
        (
            {
                "username": "puller",
                "password": PASSWORD,
                "email": None,
                "serveraddress": f"https://{REGISTRY}/v2/",
            },
            PULLER,
        ),
        ({"auth": auth(f"puller:{PASSWORD}")}, PULLER),
        ({"identitytoken": "t0ken"}, Credential(identity_token="t0ken")),
        ({"registrytoken": "t0ken"}, Credential(registry_token="t0ken")),
        ({}, None),
        ({"username": "", "password": "", "serveraddress": "elsewhere.example"}, None),
    ],
)
def test_a_header_is_read_in_every_form_in_which_clients_write_it(
    values: dict[str, object], credential: Credential | None
) -> None:
    text = header(**values)
    assert of_header(text, REGISTRY) == credential
    assert of_header(text.rstrip("="), REGISTRY) == credential
    assert of_header(text.replace("-", "+").replace("_", "/"), REGISTRY) == credential


@pytest.mark.parametrize("address", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_all_names_of_docker_hub_are_one(address: str) -> None:
    text = header(username="puller", password=PASSWORD, serveraddress=address)
    assert of_header(text, "docker.io") == PULLER


@pytest.mark.parametrize(
    "text",
    [
        "s3cret!",
        auth("s3cret"),
        auth('["s3cret"]'),
        auth('"s3cret"'),
        header(username="s3cret"),
        header(password="s3cret"),
        header(username="puller", password=["s3cret"]),
        header(auth="s3cret"),
        header(auth=auth("s3cret")),
        header(username="puller", password="s3cret", serveraddress="elsewhere.example"),
        header(username="puller", password="s3cret", serveraddress="u:s3cret@elsewhere.example"),
        auth("[" * 100_000),
    ],
)
def test_what_is_no_header_is_refused_unseen(text: str) -> None:
    with pytest.raises(InvalidCredential) as refused:
        of_header(text, REGISTRY)
    assert "s3cret" not in str(refused.value)
    assert text not in str(refused.value)


def test_a_credential_shows_no_secret() -> None:
    for credential in (PULLER, Credential(identity_token=PASSWORD)):
        assert PASSWORD not in f"{credential} {credential!r} {[credential]} {credential.who}"
        assert credential.secrets == (PASSWORD,)
    assert "puller" in PULLER.who


def test_an_engine_gets_it_under_the_name_by_which_it_knows_the_registry() -> None:
    given = PULLER.for_engine(REGISTRY)
    assert (given["serveraddress"], of_entry(given)) == (REGISTRY, PULLER)
    assert PULLER.for_engine("docker.io")["serveraddress"] == "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("Registry.Internal:5000", "registry.internal:5000"),
        ("localhost", "localhost"),
        ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ("registry-1.docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
    ],
)
def test_a_registry_has_one_name(text: str, registry: str) -> None:
    assert parse_registry(text) == registry


@pytest.mark.parametrize(
    "text", ["", "a b.io", "host.io/path", "nginx", "https://host.io", "x" * 2000]
)
def test_what_no_reference_could_name_is_no_registry(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_registry(text)


def test_what_could_be_a_password_before_a_registry_is_not_repeated() -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_registry("puller:s3cret@registry.internal")
    assert "s3cret" not in str(refused.value)
