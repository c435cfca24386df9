"""The filter grammar; and every filter selects the examples that the same condition selects in a data frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from werkzeug.test import Client

from tb_deepexplain.filter_grammar import FilterError, Term, parse
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input, InputPart, Part
from tests.plugin import stores
from tests.plugin.api_client import PICTURES, REVIEWS, get
from tests.plugin.small_stores import ODD, odd_store


def test_a_filter_is_parsed_term_by_term() -> None:
    assert parse('label:cat pred:!"tabby cat",dog  score>=0.9 -gap>5% x.deletion:0.1..0.2 dull id:"a\\"b"') == (
        Term("label", None, ":", ("cat",)),
        Term("pred", None, ":", ("tabby cat", "dog"), negated=True),
        Term("score", None, ">=", ("0.9",)),
        Term("gap", None, ">", ("5%",), negated=True),
        Term("deletion", "x", ":", ("0.1..0.2",)),
        Term(None, None, ":", ("dull",)),
        Term("id", None, ":", ('a"b',)),
    )
    assert parse("") == parse("   ") == ()
    assert parse("gap>5%")[0].number == 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label:", "expected a value at character 7"),
        ("label:a,", "expected a value at character 9"),
        ('text:"not bad', "quotation mark at character 6 has no partner"),
        ("score>high", "expected a number such as 0.9 or 5%, not 'high'"),
        ("score>1e999", "too large a number"),
        ('id:"a"b', "expected a blank at character 7, before 'b'"),
        ("x " * 41, "41 terms; at most 40"),
        ("x" * 2001, "2,001 characters"),
    ],
)
def test_a_malformed_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse(text)


@pytest.fixture(scope="module")
def frame(logdir: Path) -> pd.DataFrame:
    """The picture store, a row for each example."""
    index = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    index["relative"] = np.where(
        index["gap"] == 0, 0, (index["gap"] / (index["score"] - index["baseline_score"])).abs()
    )
    per = index.groupby("example_id")
    examples = per[["label", "predicted", "score", "probability", "label_name"]].first()
    examples["gap"] = per["relative"].max()
    examples["warned"] = per["warnings"].agg(lambda w: any(len(x) for x in w))
    for method in ("integrated_gradients", "occlusion"):
        examples[f"{method}.deletion"] = index[index["method"] == method].groupby("example_id")["deletion"].mean()
    examples["deletion"] = per["deletion"].mean()
    return examples


CASES: list[tuple[str, Any]] = [
    ("is:error", lambda f: f.label != f.predicted),
    ("is:correct", lambda f: f.label == f.predicted),
    ("-is:error", lambda f: f.label == f.predicted),
    ("label:coins", lambda f: f.label == 6),
    ("label:COINS,moon", lambda f: f.label.isin([6, 8])),
    ("label:6", lambda f: f.label == 6),
    ('label:"tabby cat"', lambda f: f.label == 0),
    ("label:*c*", lambda f: f.label_name.str.contains("c")),
    ('label:"<b>rocket</b> & co"', lambda f: f.label == 3),
    ("pred:!coins", lambda f: f.predicted != 6),
    ("label:coins pred:!coins", lambda f: (f.label == 6) & (f.predicted != 6)),
    ("label:no-such-class", lambda f: f.label < 0),
    ("probability>0.9", lambda f: f.probability > 0.9),
    ("probability:0.4..0.8", lambda f: f.probability.between(0.4, 0.8)),
    ("score<=5", lambda f: f.score <= 5),
    ("-score<=5", lambda f: f.score > 5),
    ("gap>2%", lambda f: f.gap > 0.02),
    ("integrated_gradients.gap>2%", lambda f: f.gap > 0.02),
    ("occlusion.gap>2%", lambda f: f.gap > np.inf),
    ("deletion>0.4", lambda f: f.deletion > 0.4),
    ("integrated_gradients.deletion>0.35", lambda f: f["integrated_gradients.deletion"] > 0.35),
    ("has:warning", lambda f: f.warned),
    ("has:deletion", lambda f: f.deletion.notna()),
    ("id:img-0007", lambda f: f.index == "img-0007"),
    ("id:img-001*", lambda f: f.index.str.startswith("img-001")),
    ("img-0007", lambda f: f.index == "img-0007"),
    ("moon", lambda f: (f.label == 8) | (f.predicted == 8)),
    ("is:misclassified", lambda f: f.label != f.predicted),
]


@pytest.mark.parametrize(("filter_", "holds"), CASES, ids=[c[0] for c in CASES])
def test_a_filter_selects_what_its_condition_says(
    client: Client, frame: pd.DataFrame, filter_: str, holds: Any
) -> None:
    answer = get(client, "/api/query", **PICTURES, filter=filter_, limit=200)
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json["id"]) == sorted(frame.index[holds(frame)])
    assert answer.json["total"] == len(answer.json["id"])


def test_most_cases_select_some_examples_and_not_all(frame: pd.DataFrame) -> None:
    """Otherwise they would prove little."""
    partial = [0 < holds(frame).sum() < len(frame) for _, holds in CASES]
    assert sum(partial) >= len(partial) - 2


def test_texts_are_searched_as_words_not_tokens(client: Client) -> None:
    texts = {f"review-{n:03d}": stores.SENTENCES[n % 12] for n in range(36)}
    ids = get(client, "/api/query", **REVIEWS, filter='text:"not bad"', limit=200).json["id"]
    assert {f"review-{n:03d}" for n in (2, 14, 26)} <= set(ids) and "review-003" not in ids
    assert {i for i in ids if i in texts and int(i[-3:]) < 12} == {"review-002"}
    # Pieces of words are put together, padding is no text, and case does not matter.
    assert get(client, "/api/query", **REVIEWS, filter="text:Unbelievable").json["id"] == ["review-pieces"]
    assert get(client, "/api/query", **REVIEWS, filter="unbelievable").json["id"] == ["review-pieces"]
    assert get(client, "/api/query", **REVIEWS, filter='text:"</script>"').json["total"] > 0
    answer = get(client, "/api/query", **PICTURES, filter="text:dull")
    assert answer.status_code == 400 and "holds none" in answer.text


def test_texts_among_several_inputs_are_searched(tmp_path: Path, served: Callable[..., Client]) -> None:
    texts = [(["a", "##cute", "dog", "", ""], ["it", "barks"]), (["cat"], ["no", "dog", ""])]
    rows = []
    for i, (title, body) in enumerate(texts):
        parts = [
            InputPart(input="photo", modality="image", image=stores.png(np.zeros((2, 2, 3), np.uint8))),
            InputPart(input="title", modality="text", tokens=title),
            InputPart(input="body", modality="text", tokens=body),
        ]
        shapes: list[Part] = [{"input": "photo", "shape": [2, 2, 3]}]
        shapes += [{"input": name, "shape": [len(text)]} for name, text in (("title", title), ("body", body))]
        values = np.ones(12 + len(title) + len(body))
        rows.append((Input(f"e{i}", "mixed", parts=parts), [Attribution(f"e{i}", "saliency", values, parts=shapes)]))
    odd_store(tmp_path, "mixed", rows)
    without = [(Input("1", "mixed", parts=[]), [Attribution("1", "saliency", np.ones(1), parts=[])])]
    odd_store(tmp_path, "mixed", without, "without")
    client = served(tmp_path)
    ids_of_filter = {
        "text:dog": ["e0", "e1"],
        "text:acute": ["e0"],
        'text:"it barks"': ["e0"],
        "cat": ["e1"],
        "-text:cat": ["e0"],
    }
    ids_of_filter['text:"dog it"'] = []  # the end of one text and the beginning of another
    for text, ids in ids_of_filter.items():
        assert sorted(get(client, "/api/query", **ODD, filter=text).json["id"]) == ids
    answer = get(client, "/api/query", run="without", store="s", filter="text:dog")
    assert answer.status_code == 400 and "holds none" in answer.text


@pytest.mark.parametrize("value", ["'; DROP TABLE m; --", '"', "x') OR (1=1", "%", "_", "\\", "{0}", "$p0", "é" * 50])
@pytest.mark.parametrize("field", ["id", "label", "text", ""])
def test_what_a_person_types_is_never_run_as_sql(client: Client, field: str, value: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    answer = get(client, "/api/query", **REVIEWS, filter=f"{field}:{quoted}" if field else quoted)
    assert answer.status_code == 200, answer.text
    # "'" and "%" and "_" stand for themselves; some reviews do hold an underscore or a quotation mark.
    assert answer.json["total"] < 12 or value in ("_",)


@pytest.mark.parametrize(
    ("filter_", "sentence"),
    [
        ("colour:red", "unknown field 'colour'; this store has id, label, pred"),
        ("lime.gap>1", "unknown method 'lime'"),
        ("saliency.score>1", "'score' is the same for all methods"),
        ("saliency.label:1", "'label' is the same for all methods"),
        ("label>3", "'label' has no order; write label:3"),
        ("is:wrong", "expected is:error or is:correct"),
        ("has:fun", "has:warning"),
        ("score:high", "expected a number"),
    ],
)
def test_an_impossible_filter_is_refused_in_a_sentence(client: Client, filter_: str, sentence: str) -> None:
    answer = get(client, "/api/query", **PICTURES, filter=filter_)
    assert answer.status_code == 400 and answer.text.startswith("deepexplain: filter: ") and sentence in answer.text


@pytest.mark.parametrize("desc", [0, 1])
@pytest.mark.parametrize("sort", ["score", "integrated_gradients.gap", "occlusion.deletion", "sensitivity_n"])
def test_a_facet_has_counts_and_ranks_of_its_bins(client: Client, sort: str, desc: int) -> None:
    query = {**PICTURES, "sort": sort, "desc": desc, "filter": "-label:moon"}
    facet = get(client, "/api/facet", **query, bins=12).json
    listed = get(client, "/api/query", **query, columns=sort, limit=200).json
    values = np.array(listed[sort], float)
    known = values[np.isfinite(values)]
    assert facet["total"] == listed["total"] == 54 and facet["known"] == len(known) == sum(facet["counts"])
    counts, _ = np.histogram(known.astype(np.float32), facet["edges"])
    assert counts.tolist() == facet["counts"] and len(counts) == 12
    for start, count, low, high in zip(
        facet["starts"], facet["counts"], facet["edges"], facet["edges"][1:], strict=False
    ):
        within = values[start : start + count]
        assert ((within >= low - 1e-6) & (within <= high + 1e-6)).all()
