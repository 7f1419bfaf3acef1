from tools import ideas

for name in ideas.names():
    (ideas.FOLDER / f"{name}.svg").write_text(ideas.draw(name), encoding="utf-8")
