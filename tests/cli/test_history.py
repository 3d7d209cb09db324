from __future__ import annotations

import json

from tests.peers.fixtures import Onggi


def test_table(web: Onggi) -> None:
    id = web.output("images", "-q", "web:v1").strip()
    cmd = '/bin/sh -c #(nop)  CMD ["nginx" "-g" "daemon…'
    header, newest, command, base = web.output("history", "web:v1").splitlines()
    assert header == f"{'IMAGE':<15}{'CREATED':<14}{'CREATED BY':<48}{'SIZE':<10}COMMENT"
    years = newest[15:26]
    assert newest == f"{id:<15}{years}   /bin/sh -c set -x     && addgroup --system  …   22B       c"
    assert command == f"{'<missing>':<15}{years}   {cmd:<48}0B        "
    assert (
        base == f"{'<missing>':<15}{years}   {'/bin/sh -c #(nop) ADD file:d252ae1c97d5c80e7…':<48}5kB       "
    )


def test_whole_texts(web: Onggi) -> None:
    output = web.output("history", "--no-trunc", "web:v1")
    assert "&& echo 'long enough to be cut' <&>   22B" in output
    assert output.splitlines()[1].startswith("sha256:")


def test_machine_sizes_and_times(web: Onggi) -> None:
    output = web.output("history", "-H=false", "--format", "{{.CreatedAt}} {{.Size}}", "web:v1")
    assert output == "2019-11-23T01:12:31Z 22\n2019-11-23T01:12:31Z 0\n2019-11-23T01:12:31Z 5000\n"
    assert "CREATED AT" in web.output("history", "--human=false", "web:v1")


def test_quiet(web: Onggi) -> None:
    id = web.output("images", "-q", "--no-trunc", "web:v1")
    assert web.output("history", "-q", "--no-trunc", "web:v1") == f"{id}<missing>\n<missing>\n"


def test_exact_json_shows_the_layer_behind_each_row(web: Onggi) -> None:
    newest, command, base = json.loads(web.output("history", "--json", "web:v1"))
    layers = json.loads(web.output("inspect", "web:v1"))[0]["RootFS"]["Layers"]
    assert [base["DiffID"], newest["DiffID"]] == layers
    assert base["ChainID"] == base["DiffID"]
    assert newest["ChainID"] != newest["DiffID"]
    assert len(newest["CacheID"]) == 64
    assert newest["Blobs"][0].startswith("sha256:")
    assert (command["DiffID"], command["Size"], command["Blobs"]) == (None, 0, [])
    assert newest["CreatedBy"].count("\t") == 1


def test_dates_of_reproducible_builds_are_none(empty: Onggi) -> None:
    from onggi.cli.history import _dated
    from onggi.cli.units import ago

    class Row:
        created_at = 0.0

    assert _dated(Row, ago) == "N/A"
