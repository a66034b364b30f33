"""Callers whom an identity provider knows, at controllers that are told of it."""

from tests.testing.answers import refused
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.identity import IdentityProvider, new_key
from tests.testing.process import wait_until


def test_what_a_group_may_do_its_members_do_at_every_controller(
    pair: Cluster, identity: IdentityProvider
) -> None:
    stranger = new_key()
    for url in (pair.url, str(pair.others[0].base_url)):
        ann, ben, eve = (
            pair.client(identity.token(name), url=url) for name in ("ann", "ben", "eve")
        )
        assert ben.get("/agent").status_code == 200
        assert "'agent:write'" in refused(ben.post(f"/agent/{WEB_1}/drain"), 403)
        assert ann.post(f"/agent/{WEB_1}/drain").status_code == 200
        assert ann.post(f"/agent/{WEB_1}/undrain").status_code == 200
        assert "'agent:read'" in refused(eve.get("/agent"), 403)
        for wrong in (identity.signed(key=stranger), identity.token("ann", audience="urn:x")):
            refused(pair.client(wrong, url=url).get("/agent"), 401)


def test_its_jobs_are_its_own_and_the_audit_names_it(
    pair: Cluster, identity: IdentityProvider
) -> None:
    ann = pair.client(identity.token("ann"))
    job = ann.get(f"/node/{WEB_1}/load").raise_for_status().json()["job_id"]
    assert pair.job(job)["caller"] == "oidc/ann"
    ann.delete(f"/job/{job}").raise_for_status()

    def there() -> bool:
        found = pair.admin.get("/audit", params={"user": "oidc/ann", "job": job})
        return [each["operation_id"] for each in found.json()["items"]] == ["job.delete"]

    wait_until(there, what="the entry of the audit")


def test_a_token_of_it_can_be_revoked(pair: Cluster, identity: IdentityProvider) -> None:
    ann = pair.client(identity.signed(jti="by-the-provider"))
    assert ann.get("/agent").status_code == 200
    pair.admin.delete("/token/by-the-provider").raise_for_status()
    assert "revoked" in refused(ann.get("/agent"), 401)
