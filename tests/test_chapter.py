"""What all chapters do alike."""

from sslbook import chapter, results


def test_the_growing_table_says_what_network_where_there_are_two():
    rows = chapter.logged("cpu", ["pixels", "random ViT", "SimCLR", "MoCo"])
    networks = {row["encoder"]: row["network"] for row in rows}
    assert networks == {"pixels": "none", "random ViT": "ViT", "SimCLR": "ConvNet", "MoCo v2": "ConvNet"}
    assert chapter.compact(rows) == rows
    assert list(rows[0])[:2] == ["encoder", "network"]
    larger = chapter.logged("gpu", ["random encoder", "MAE"])
    assert [row["network"] for row in larger] == ["ResNet-18", "ViT-Tiny"]


def test_the_growing_table_says_nothing_of_one_network():
    alike = chapter.compact(chapter.logged("cpu", ["pixels", "random encoder", "SimCLR"]))
    assert alike == results.rows("cpu", ["pixels", "random encoder", "SimCLR"])
