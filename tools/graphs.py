"""Trace the playground's graphs anew into the package: `python -m tools.graphs`, about a minute."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence

from sslbook import playground
from sslbook.in_page import Graph, embeddings, features, training_step


def graphs(names: Sequence[str]) -> dict[str, Graph]:
    """Those of these methods, as `playground.stored` names them."""
    found = {"features": features(playground.make(names[0]), (playground.CHUNK, 3, 32, 32))}
    for name in names:
        found[f"{name} z"] = embeddings(playground.make(name), (playground.WATCHED, 3, 32, 32))
        train = playground.recipe(name).train
        for part in (None, *playground.PLAYS[name].parts):
            found[playground.variant(name, part)] = training_step(
                playground.make(name, part),
                (2, playground.PLAYS[name].batch, 3, playground.SIZE, playground.SIZE),
                optimizer=train["optimizer"],
                weight_decay=train["weight_decay"],
                dials=[dial.name for dial in playground.PLAYS[name].dials if part != "negatives"],
            )
    return found


def packed(found: Mapping[str, Graph]) -> tuple[bytes, dict[str, dict[str, list[int]]]]:
    """In pieces, and their index, as `playground.stored` gives them back."""
    pieces, index, place = [], {}, 0
    for name, graph in found.items():
        parts = [[part.name, math.prod(part.shape), *part.start] for part in graph.parts]
        index[name] = {}
        for kind, content in (("model", graph.model), ("parts", json.dumps(parts).encode())):
            piece = gzip.compress(content, mtime=0)
            index[name][kind] = [place, place + len(piece)]
            pieces.append(piece)
            place += len(piece)
    return b"".join(pieces), index


def main() -> None:
    content, index = packed(graphs(playground.playable()))
    playground.GRAPHS.parent.mkdir(exist_ok=True)
    playground.GRAPHS.with_suffix(".bin").write_bytes(content)
    playground.GRAPHS.with_suffix(".json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    print(f"{len(index)} graphs, {len(content):,} bytes")


if __name__ == "__main__":
    main()
