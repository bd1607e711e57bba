"""Templates of --format: what Go's text/template gives for the same input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.errors import ImageToolError, LimitExceeded, UsageError
from imagetool.gotemplate import Template, labelled, rows, table

VALUE = {
    "Name": "debian",
    "List": ["a", "b"],
    "Map": {"k": 1, "a": {"b": True}},
    "N": 3,
    "F": 1.5,
    "Empty": [],
    "Nil": None,
    "Size": "78.1MB",
    "Labels": {"a": "b"},
    "None": {},
}

GOOD = [
    ("plain", "plain"),
    ("{{.Name}}: {{.N}}", "debian: 3"),
    ("{{.List}} {{.Map}} {{.F}}", "[a b] map[a:map[b:true] k:1] 1.5"),
    ("{{.Nil}}|{{.Map.a.b}}", "<no value>|true"),
    ("{{json .Map}}", '{"k":1,"a":{"b":true}}'),
    ("{{.Map.a | json | printf \"%s!\"}}", '{"b":true}!'),
    ("{{range .List}}[{{.}}]{{end}}", "[a][b]"),
    ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b "),
    ("{{range $e := .List}}{{$e}}{{$.N}}{{end}}", "a3b3"),
    ("{{range $k, $v := .Map}}{{$k}} {{end}}", "a k "),
    ("{{range .Empty}}x{{else}}none{{end}}", "none"),
    ("{{range .Nil}}x{{else}}none{{end}}", "none"),
    ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
    ("{{range .List}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b"),
    ("{{if .Empty}}1{{else if .N}}2{{else}}3{{end}}", "2"),
    ("{{if and .N .Name}}y{{end}}{{if or .Empty .Nil}}n{{end}}", "y"),
    ("{{with .Map.a}}{{.b}}{{end}}{{with .Nil}}x{{else}}-{{end}}", "true-"),
    ("a {{- 1 -}} b", "a1b"),
    ("a {{- /* note */ -}} b{{/* c */}}", "ab"),
    ("{{$x := 1}}{{range .List}}{{$x = .}}{{end}}{{$x}}", "b"),
    ("{{$x := 1}}{{range .List}}{{$x := .}}{{end}}{{$x}}", "1"),
    ("{{.Labels.a}}{{.Labels.x}}{{.None.x}}{{if .Map.x}}y{{end}}", "b<no value><no value>"),
    ('{{index .Labels "x"}}|{{index .None "x"}}|{{index .Map "x"}}', "||<no value>"),
    ("{{(index .List 1) | upper}}{{index .Map \"a\" \"b\"}}", "Btrue"),
    ("{{len .Name}}{{len .List}}{{len .Map}}", "622"),
    ("{{slice .Name 1 3}}{{truncate .Name 3}}{{pad .Name 1 2}}|", "ebdeb debian  |"),
    ("{{join .List \", \"}} {{json (split \"a:b\" \":\")}}", 'a, b ["a","b"]'),
    ("{{lower \"AB\"}}{{title \"ab cd\"}}", "abAb Cd"),
    ("{{eq .N 1 3}}{{ne .N 3}}{{lt .N 4}}{{le 3 .N}}{{gt \"a\" \"b\"}}{{ge .F 1.5}}", "truefalsetruetruefalsetrue"),
    ("{{not .Empty}}{{print 1 2 \"x\" 3}}{{println .N}}", "true1 2x33\n"),
    ("{{printf \"%-4s|%4d|%04d|%.2f|%q\" \"a\" 7 7 1.234 \"q\"}}", 'a   |   7|0007|1.23|"q"'),
    ("{{printf \"%x|%v|%t|%%|%d\" 255 .List true}}", "ff|[a b]|true|%|%!d(MISSING)"),
    ('{{printf "%c%c%c%c" 65 -1 9_999_999 0xD800}}', "A\ufffd\ufffd\ufffd"),
    ("{{0x10}} {{-3}} {{1_000}} {{'a'}} {{`raw\\`}} {{\"\\t\\\"\"}}", '16 -3 1000 97 raw\\ \t"'),
]  # fmt: skip

BAD = [
    ("{{.Nam}}", "column 3: there is no field 'Nam'"),
    ("{{.Name.x}}", "column 3: a string has no field 'x'"),
    ("{{nope}}", "column 3: function 'nope' is not defined"),
    ("a{{.Name", "column 2: an action is not closed"),
    ("{{range .List}}", "{{end}} is missing"),
    ("{{end}}", "unexpected {{end}}"),
    ("{{else}}", "unexpected {{else}}"),
    ("{{if}}x{{end}}", "column 5: unexpected the end"),
    ("{{.N | .Name}}", "'.Name' is not a function"),
    ("{{.N .Name}}", "'.N' is not a function"),
    ("{{$x}}", "undefined variable '$x'"),
    ("{{$x = 1}}", "undefined variable '$x'"),
    ("{{break}}", "outside of a range"),
    ('{{define "x"}}{{end}}', "'define' is not supported"),
    ("{{(1}}", "'(' is not closed"),
    ("{{1)}}", "unexpected ')'"),
    ("{{index .List 5}}", "index: index 5 is out of range"),
    ('{{lt 1 "a"}}', "lt: cannot compare int with string"),
    ("{{len .N}}", "len: a int has no length"),
    ('{{.Labels.a "x"}}', "'.a' is not a function"),
    ('{{.List.Label "x"}}', "'.Label' is not a function"),
    ('{{. "x"}}', "'.' is not a function"),
    ('{{1 "x"}}', "'1' is not a function"),
    ("{{upper .N}}", "upper: the argument is a int, not a string"),
    ("{{upper}}", "upper takes 1 arguments, not 0"),
    ("{{range .Name}}{{end}}", "cannot range over a string"),
    ('{{"a}}', "unexpected '\"'"),
    ("{{;}}", "unexpected ';'"),
    ("{{" + "(" * 100 + "1" + ")" * 100 + "}}", "too deeply nested"),
    ("{{if 1}}" * 100, "too deeply nested"),
    ("{{index .Map .List}}", "index: the key is a list, not a string"),
    ("{{1e999}}", "1e999 is not a valid number"),
    ("{{9223372036854775808}}", "9223372036854775808 is not a valid number"),
    ("{{range 100_001}}x{{end}}", "column 9: cannot range over 100001: more than 100000"),
    ('{{range 9_000}}{{printf "%9999d" 1}}{{end}}', "more than 67108864 characters"),
]


@pytest.mark.parametrize(("text", "result"), GOOD)
def test_a_template_gives_what_go_gives(text: str, result: str) -> None:
    assert Template(text).render(VALUE) == result


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_a_bad_template_says_where(text: str, reason: str) -> None:
    with pytest.raises((UsageError, LimitExceeded)) as caught:
        Template(text).render(VALUE)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


PIECES = [
    "{{",
    "}}",
    " ",
    ".",
    ".Name",
    ".List",
    "$x",
    ":=",
    "|",
    "(",
    ")",
    "range",
    "if",
    "end",
    "else",
    "json",
    '"a"',
    "1",
    "-",
    ",",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=20))
def test_any_text_renders_or_is_refused(text: str) -> None:
    try:
        Template(text).render(VALUE)
    except ImageToolError:
        return


def test_a_table_is_aligned_as_docker_aligns_it() -> None:
    cells = [["REPOSITORY", "TAG", "IMAGE ID", "SIZE"], ["ubuntu", "latest", "97bed23a3497", "78.1MB"]]
    assert list(table(cells)) == [
        "REPOSITORY   TAG       IMAGE ID       SIZE",
        "ubuntu       latest    97bed23a3497   78.1MB",
    ]


def test_rows_of_a_list_command() -> None:
    values = [{"ID": "97bed23a3497", "Size": "78.1MB"}]
    headers = {"ID": "IMAGE ID", "Size": "SIZE"}
    assert list(rows(r"table {{.ID}}\t{{.Size}}", values, headers)) == [
        "IMAGE ID       SIZE",
        "97bed23a3497   78.1MB",
    ]
    assert list(rows("{{.Size}}", values, headers)) == ["78.1MB"]
    assert list(rows("json", values, headers)) == ['{"ID":"97bed23a3497","Size":"78.1MB"}']


def test_labels_are_asked_for_by_name() -> None:
    value = labelled({"Name": "web"}, {"com.example.build-host": "one", "b": "two"})
    template = '{{.Label "com.example.build-host"}}|{{"b" | .Label}}|{{.Label "none"}}|{{.Label "b" | upper}}'
    assert Template(template).render(value) == "one|two||TWO"
    assert Template('{{range $x := .}}{{$.Label "b"}}{{end}}').render(value) == "two"
    assert Template("{{json .}}").render(value) == '{"Name":"web"}'
    titles = {"Name": "NAMES"}
    assert list(rows(r'table {{.Name}}\t{{.Label "com.example.build-host"}}', [value], titles)) == [
        "NAMES     build host",
        "web       one",
    ]


@pytest.mark.parametrize(
    "text", ["{{.Label 1}}", '{{.Label "a" "b"}}', '{{"a" | .Label "b"}}', "{{.Label .}}"]
)
def test_a_label_has_one_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"'\.Label' takes one text"):
        Template(text).render(labelled({}, {}))
