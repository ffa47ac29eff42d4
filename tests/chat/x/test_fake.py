"""The fake is held against the SDK, which is generated from X's OpenAPI document."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import requests
from starlette.routing import Route

xdk = pytest.importorskip("xdk", reason="needs the extra x")

from xdk.posts import models as posts  # noqa: E402
from xdk.posts.client import PostsClient  # noqa: E402
from xdk.stream import models as stream  # noqa: E402
from xdk.stream.client import StreamClient  # noqa: E402
from xdk.users import models as users  # noqa: E402
from xdk.users.client import UsersClient  # noqa: E402

from gigafactory.chat.x.fake import make_fake  # noqa: E402
from gigafactory.chat.x.fake_state import World  # noqa: E402

#: what the bot calls, and where the SDK sends it
CALLS = {
    ("GET", "/2/users/me"): UsersClient.get_me,
    ("GET", "/2/users/{id}/mentions"): UsersClient.get_mentions,
    ("GET", "/2/tweets"): PostsClient.get_by_ids,
    ("POST", "/2/tweets"): PostsClient.create,
    ("DELETE", "/2/tweets/{id}"): PostsClient.delete,
    ("GET", "/2/tweets/search/stream"): StreamClient.posts,
}


def test_the_routes_are_those_of_the_sdk() -> None:
    routes = {
        (method, route.path)
        for route in make_fake(World()).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routes == set(CALLS)
    for (method, path), call in CALLS.items():
        source = inspect.getsource(call)
        assert f'"{path}"' in source
        sent = re.search(r'method="(\w+)"|session\.(get|post|delete)\(|"(\w+)",\s*url', source)
        assert sent is None or next(filter(None, sent.groups())).upper() == method


def get(scene: Any, path: str, token: str = "token-of-the-test", **query: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(scene.url + path, params=query, headers=headers, timeout=10)


def test_answers_have_the_fields_of_the_sdks_models(scene: Any) -> None:
    asked = scene.ask("@quotesbot how deep?")
    scene.ask("@quotesbot and this?", quotes=asked)
    checks = [
        (get(scene, "/2/users/me"), users.GetMeResponse),
        (get(scene, f"/2/users/{scene.account.id}/mentions"), users.GetMentionsResponse),
        (get(scene, "/2/tweets", ids=f"{asked},123456"), posts.GetByIdsResponse),
    ]
    for response, model in checks:
        assert response.status_code == 200
        read = model.model_validate(response.json())
        unknown = [] if read.model_extra is None else list(read.model_extra)
        assert not unknown
        for entry in read.data if isinstance(read.data, list) else [read.data]:
            assert not entry.model_extra, (model, entry.model_extra)
    headers = {"Authorization": "Bearer token-of-the-test"}
    body = {"text": "30 metres", "made_with_ai": True, "reply": {"in_reply_to_tweet_id": asked}}
    assert not posts.CreateRequest.model_validate(body).model_extra
    made = requests.post(f"{scene.url}/2/tweets", json=body, headers=headers, timeout=10)
    assert made.status_code == 201
    ident = posts.CreateResponse.model_validate(made.json()).data.id
    gone = requests.delete(f"{scene.url}/2/tweets/{ident}", headers=headers, timeout=10)
    assert posts.DeleteResponse.model_validate(gone.json()).data.deleted is True
    line = {"data": {"id": asked, "text": "t"}, "matching_rules": [{"id": "1", "tag": "t"}]}
    assert not stream.PostsResponse.model_validate(line).model_extra


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/2/tweets", {"ids": "a"}, 400),
        ("/2/tweets", {"ids": ",".join(["1"] * 101)}, 400),
        ("/2/users/1/mentions", {}, 403),
        ("/2/nothing", {}, 404),
    ],
)
def test_wrong_requests_are_told_apart(
    scene: Any, path: str, query: dict[str, str], status: int
) -> None:
    assert get(scene, path, **query).status_code == status
    assert get(scene, "/2/users/me", token="no").status_code == 401


def test_limits_are_told_in_headers_and_end_with_the_window(scene: Any) -> None:
    scene.world.limits = {"me": 2}
    left = [get(scene, "/2/users/me").headers["x-rate-limit-remaining"] for _ in range(2)]
    assert left == ["1", "0"]
    assert get(scene, "/2/users/me").status_code == 429
    scene.world.clock_s += 900
    assert get(scene, "/2/users/me").status_code == 200


def test_a_page_does_not_move_when_something_new_comes(scene: Any) -> None:
    asked = [scene.ask(f"@quotesbot {at}") for at in range(12)]
    path = f"/2/users/{scene.account.id}/mentions"
    first = get(scene, path, max_results="5").json()
    scene.ask("@quotesbot new")
    second = get(scene, path, max_results="5", pagination_token=first["meta"]["next_token"]).json()
    got = [post["id"] for page in (first, second) for post in page["data"]]
    assert got == asked[::-1][:10]
