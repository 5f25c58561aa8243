"""People and teams over HTTP."""

from __future__ import annotations

from tests.admin.conftest import Ask


def test_person_is_made_changed_and_forgotten(ask: Ask) -> None:
    made = ask("POST", "/users", json={"id": "ana/souza", "name": "Ana", "team": "vendas"})
    changed = ask("PATCH", "/users/ana/souza", json={"team": None, "email": "ana@x.br"})
    shown = ask("GET", "/users/ana/souza").get_json()
    removed = ask("DELETE", "/users/ana/souza")

    assert (made.status_code, changed.status_code, removed.status_code) == (201, 200, 204)
    assert (shown["name"], shown["email"], shown["team"]) == ("Ana", "ana@x.br", None)
    assert ask("GET", "/users/ana/souza").status_code == 404


def test_person_that_is_there_is_a_409(ask: Ask) -> None:
    ask("POST", "/users", json={"id": "ana"})

    assert ask("POST", "/users", json={"id": "ana"}).status_code == 409


def test_person_with_an_address_that_is_none_is_a_422(ask: Ask) -> None:
    answer = ask("POST", "/users", json={"id": "ana", "email": "ana"})

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "email")


def test_people_are_found_by_what_they_are_called_in_pages(ask: Ask) -> None:
    for number in range(4):
        ask("POST", "/users", json={"id": f"u{number}", "name": "Ana_50%", "team": "vendas"})
    ask("POST", "/users", json={"id": "zé", "name": "Ana 501", "team": "rh"})

    first = ask("GET", "/users", q="ana_50%", limit=3).get_json()
    second = ask("GET", "/users", q="ana_50%", limit=3, cursor=first["next_cursor"]).get_json()

    assert [row["id"] for row in first["data"] + second["data"]] == ["u0", "u1", "u2", "u3"]
    assert [it["id"] for it in ask("GET", "/users", team="rh").get_json()["data"]] == ["zé"]


def test_team_has_its_people_and_lets_them_go_with_it(ask: Ask) -> None:
    ask("POST", "/teams", json={"id": "vendas"})
    ask("POST", "/users", json={"id": "ana", "team": "vendas"})
    ask("PATCH", "/teams/vendas", json={"name": "Vendas"})

    (team,) = ask("GET", "/teams", q="VEND").get_json()["data"]
    ask("DELETE", "/teams/vendas")

    assert (team["name"], team["people"]) == ("Vendas", 1)
    assert ask("GET", "/users/ana").get_json()["team"] is None
