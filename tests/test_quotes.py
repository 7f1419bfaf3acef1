"""Numbers in the text equal the logs."""

import json
import re

import pytest

from benchmarks import bench
from sslbook import results
from tools import notebooks, quotes

FILES = [path for path in quotes.files() if quotes.MARKED.search(path.read_text(encoding="utf-8"))]


def test_some_text_quotes_logs():
    assert {"README.md", "comparison.ipynb"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_text_and_logs_agree(path):
    assert quotes.rewritten(path) == path.read_text(encoding="utf-8"), "run `make numbers`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_line_begins_with_a_mark(path):
    """Markdown takes it for HTML, which ends the paragraph in mid-sentence."""
    assert re.findall(r'^[ "]*<!--=.*', path.read_text(encoding="utf-8"), re.MULTILINE) == []


def test_a_changed_number_is_noticed():
    text = "SimCLR reaches <!--=cpu|SimCLR|kNN-->0.12<!--/--> kNN."
    mean = results.rows("cpu", ["SimCLR"])[0]["kNN"]
    assert quotes.quoted(text) == f"SimCLR reaches <!--=cpu|SimCLR|kNN-->{mean:.2f}<!--/--> kNN."


def test_ratios_of_the_benchmark_are_quoted_with_two_digits(monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    rows = [dict(comparison="views", contender=name, times=t) for name, t in (("kornia", 3.44), ("lightly", 14.8))]
    (tmp_path / "benchmarks/2-cores.json").write_text(json.dumps(dict(rows=rows)))
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    text = quotes.quoted("<!--=bench|views|kornia-->?<!--/--> and <!--=bench|views|lightly-->?<!--/-->")
    assert re.findall(r">([\d.]+)<", text) == ["3.4", "15"]
    with pytest.raises(SystemExit, match="no rival 'kornia' in 'step'"):
        quotes.quoted("<!--=bench|step|kornia-->1<!--/-->")


def test_the_benchmarks_log_is_whole():
    log = json.loads((notebooks.ROOT / "benchmarks/2-cores.json").read_text())
    assert {row["comparison"] for row in log["rows"]} == set(bench.COMPARISONS)


def test_a_quote_without_a_log_is_refused():
    with pytest.raises(SystemExit, match="no log in results/cpu answers 'kNN' of 'Nothing'"):
        quotes.quoted("<!--=cpu|Nothing|kNN-->0.1<!--/-->")


def test_the_comparison_page_types_no_measurement_by_hand():
    """Accuracies of ours are 0.ddd; outside of marks and of code, the page has none."""
    notebook = notebooks.load(notebooks.BOOK / "evaluation/comparison.ipynb")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = quotes.MARKED.sub("", notebooks.text(cell))
            text = re.sub(r"~~~python.*?~~~", "", text, flags=re.DOTALL)
            assert not re.findall(r"(?<![\d.])0?\.\d{2,3}\b", text), cell["id"]
