"""Outputs and errors recorded from Docker's command line 28.2 over the same object."""

from __future__ import annotations

import pytest

from onggi.cli.gofmt import Record
from onggi.cli.template import TemplateError, TemplateSyntaxError, compile_template

CONFIG = Record.of(
    "Config",
    {
        "Env": ["A=1", "B=2"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "Labels": {"maintainer": "NGINX", "also": "<b>"},
    },
    {"User": "", "Entrypoint": [], "Healthcheck": None, "Volumes": {}},
)
IMAGE = Record.of(
    "Image",
    {
        "Id": "sha256:61018147ec5a",
        "Size": 95443941,
        "Config": CONFIG,
        "RootFS": Record.of("RootFS", {"Type": "layers", "Layers": ["sha256:db", "sha256:59"]}),
    },
    {"Variant": ""},
)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "sha256:61018147ec5a"),
        ("{{.Config.Labels.foo}}|{{index .Config.Labels `foo`}}|{{.Config.Labels.maintainer}}", "<no value>||NGINX"),
        ("{{.Config.User}}|{{.Variant}}|{{.Config.Entrypoint}}|{{.Config.Healthcheck}}", "||[]|<nil>"),
        ("{{.Config.Volumes}} {{.Config.Env}} {{.RootFS}}", "map[] [A=1 B=2] {layers [sha256:db sha256:59]}"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}},{{end}}", "0=A=1,1=B=2,"),
        ("{{range $e := .Config.Env}}{{$e}};{{end}}", "A=1;B=2;"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}} {{end}}", "also:<b> maintainer:NGINX "),
        ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "02"),
        ("{{range .Config.Env}}{{.}}{{break}}{{end}}", "A=1"),
        ("{{len .RootFS.Layers}} {{index .RootFS.Layers 1}}", "2 sha256:59"),
        ('{{join .Config.Cmd " "}}', "nginx -g daemon off;"),
        ('{{truncate .Id 12}} {{pad "x" 2 3}}| {{title "foo bar"}} {{upper "a"}}', "sha256:61018   x   | Foo Bar A"),
        ('{{lower "A"}} {{split "a:b:c" ":"}}', "a [a b c]"),
        ("{{json .Config.Cmd}} {{.Config.Cmd | json}}", '["nginx","-g","daemon off;"] ["nginx","-g","daemon off;"]'),
        ("{{json .Config}}", '{"Env":["A=1","B=2"],"Cmd":["nginx","-g","daemon off;"],'
         '"Labels":{"maintainer":"NGINX","also":"<b>"}}'),
        ('{{json "<a>&"}} {{json nil}}', '"<a>&" null'),
        ('{{.Size | printf "%d bytes"}}', "95443941 bytes"),
        ("{{if gt .Size 5}}big{{else if eq .Size 1}}x{{else}}small{{end}}", "big"),
        ("{{if lt .Size 5}}big{{else if eq .Size 95443941}}x{{else}}small{{end}}", "x"),
        ("{{with .Config}}{{.Env}}{{end}}{{with .Variant}}x{{else}}none{{end}}", "[A=1 B=2]none"),
        ("{{with $x := 5}}{{$x}}{{.}}{{end}}", "55"),
        ('a {{- "  x  " -}} y', "a  x  y"),
        ("a {{/* c */}} b {{- /* c */ -}} c", "a  bc"),
        ("{{title `foo-bar baz_q o'x éa`}}", "Foo-Bar Baz_q O'X Éa"),
        ("{{$x := .Size}}{{$x}} {{$.Size}} {{(index .RootFS.Layers 0)}}", "95443941 95443941 sha256:db"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{1.5}} {{1e3}} {{0x1F}} {{true}} {{'a'}}", "1.5 1000 31 true 97"),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ('{{html "<a>"}} {{js "a\\"b"}} {{urlquery "a b"}}', '&lt;a&gt; a\\"b a+b'),
        ('{{and 1 0}} {{or 0 "x"}} {{not 0}} {{slice "abc" 1 2}}', "0 x true b"),
        ("{{or .Variant `none`}} {{and true (index .Config.Env 0)}}", "none A=1"),
        ("{{if or true (index .Config.Env 99)}}short{{end}}", "short"),
        ('{{define "x"}}hi{{.}}{{end}}{{template "x" 1}}{{block "y" 2}}<{{.}}>{{end}}', "hi1<2>"),
        ('{{1 | printf "%d" | len}}', "1"),
        ("{{eq 1 2 3 1}} {{ne `a` `b`}} {{le 1 1}} {{ge 2 1}}", "true true true true"),
        ("{{ (split `a,b` `,`) | len }}", "2"),
        ("{{`raw\\n`}}{{\"\\t\\u00e9\\x41\"}}", "raw\\n\t\u00e9A"),
    ],
)  # fmt: skip
def test_output(source: str, text: str) -> None:
    assert compile_template(source)(IMAGE) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{.Bogus}}", 'template: :1:2: executing "" at <.Bogus>: map has no entry for key "Bogus"'),
        ("{{.Config.Foo}}", 'template: :1:9: executing "" at <.Config.Foo>: map has no entry for key "Foo"'),
        ("a\n {{.Bogus}}", 'template: :2:3: executing "" at <.Bogus>: map has no entry for key "Bogus"'),
        ("{{.Size.Foo}}", 'template: :1:7: executing "" at <.Size.Foo>: can\'t evaluate field Foo in type int'),
        (
            "{{index .RootFS.Layers 99}}",
            'template: :1:2: executing "" at <index .RootFS.Layers 99>: error calling index: index out of range: 99',
        ),
        (
            '{{eq 1 "a"}}',
            'template: :1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison',
        ),
        ("{{.Size 1}}", 'template: :1:2: executing "" at <.Size>: Size is not a method but has arguments'),
        ("{{nil}}", 'template: :1:2: executing "" at <nil>: nil is not a command'),
        ("{{len .Size}}", 'template: :1:2: executing "" at <len .Size>: error calling len: len of type int'),
        ("{{join 1}}", 'template: :1:2: executing "" at <join>: wrong number of args for join: got 1'),
        ("{{range .Id}}{{end}}", 'template: :1:8: executing "" at <.Id>: range can\'t iterate over sha256:61018147ec5a'),
        ('{{"a" 1}}', 'template: :1:2: executing "" at <"a">: can\'t give argument to non-function "a"'),
        ('{{template "x"}}', 'template: :1:2: executing "" at <{{template "x"}}>: template "x" not defined'),
    ],
)  # fmt: skip
def test_execution_errors(source: str, text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(source)(IMAGE)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{", "template: :1: unclosed action"),
        ("{{}}", "template: :1: missing value for command"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{if}}x{{end}}", "template: :1: missing value for if"),
        ("\n{{end}}", "template: :2: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{range .X}}", "template: :1: unexpected EOF"),
        ('{{"abc}}', "template: :1: unterminated quoted string"),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{(1}}", "template: :1: unclosed left paren"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{/* x}}", "template: :1: unclosed comment"),
        ("{{`x}}", "template: :1: unterminated raw quoted string"),
    ],
)
def test_syntax_errors(source: str, text: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile_template(source)
    assert str(caught.value) == text
