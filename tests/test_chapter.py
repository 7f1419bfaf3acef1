"""What all chapters do alike."""

from dataclasses import replace

from sslbook import chapter, results
from sslbook.encoders import resnet18


def test_the_growing_table_says_what_network_where_there_are_two():
    rows = chapter.logged("cpu", ["pixels", "random ViT", "SimCLR", "MoCo"])
    networks = {row["encoder"]: row["network"] for row in rows}
    assert networks == {"pixels": "none", "random ViT": "ViT", "SimCLR": "ConvNet", "MoCo v2": "ConvNet"}
    assert chapter.compact(rows) == rows
    assert list(rows[0])[:2] == ["encoder", "network"]
    larger = chapter.logged("gpu", ["random encoder", "MAE"])
    assert [row["network"] for row in larger] == ["ResNet-18", "ViT-Tiny"]
    assert chapter.network_of("gpu", "TextEncoder") == "TextEncoder", "a kind that is no larger there"


def test_this_page_s_row_and_the_logs_name_a_network_alike(monkeypatch):
    lab = chapter.Lab("SimCLR")
    monkeypatch.setattr(lab, "plan", replace(lab.plan, name="gpu"))
    monkeypatch.setattr(chapter.evaluate, "report", lambda *_: {"kNN": 0.5})
    lab.table(resnet18())
    assert {row["network"] for row in lab.rows} - {"none"} == {"ResNet-18"}


def test_the_growing_table_says_nothing_of_one_network():
    alike = chapter.compact(chapter.logged("cpu", ["pixels", "random encoder", "SimCLR"]))
    assert alike == results.rows("cpu", ["pixels", "random encoder", "SimCLR"])
