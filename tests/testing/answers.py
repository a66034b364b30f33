"""What every answer of the API has in common, checked and taken apart."""

import json
from typing import Any

import httpx


def refused(answer: httpx.Response, status: int) -> str:
    """Check that an answer is an error, entire, and return what it says."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/json"
    said = error_body(answer.content, status)
    assert "Location" not in answer.headers
    return said


def error_body(content: bytes, status: int) -> str:
    """Check an error's body and return what it says."""
    body = json.loads(content)
    assert body.keys() == {"error", "details", "code"}
    assert body["code"] == status
    assert isinstance(body["error"], str)
    # One line that says more than that something is wrong.
    assert len(body["error"].split()) > 3
    assert body["error"].splitlines() == [body["error"]]
    assert isinstance(body["details"], str)
    assert "Traceback" not in body["details"]
    return f"{body['error']} {body['details']}"


def results(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the results of an accepted pull by hostname."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert answer.headers["Location"] == f"/job/{body['job_id']}"
    by_name = {result["hostname"]: result for result in body["results"]}
    assert len(by_name) == len(body["results"])
    return by_name


def statuses(job: dict[str, Any]) -> dict[str, str]:
    """Return each node's status in a job or in an answer that lists results."""
    return {result["hostname"]: result["status"] for result in job["results"]}
