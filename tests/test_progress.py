import sys
import types

import pytest

from sslbook import bar


def test_off_means_silent(capsys):
    assert list(bar.progress_bar(range(3), show=False)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_it_is_tqdm(capsys):
    assert list(bar.progress_bar(range(3), desc="work")) == [0, 1, 2]
    assert "work: 100%" in capsys.readouterr().err


@pytest.fixture
def notebook(monkeypatch):
    """A kernel that remembers what each display shows now."""
    shown = []

    class Handle:
        def update(self, data, raw):
            shown[-1] = data["text/plain"]

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=True)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return shown


def test_in_a_notebook_one_line_stays(notebook, capsys):
    assert bar.in_notebook()
    list(bar.progress_bar(range(30), desc="work", mininterval=0))
    assert len(notebook) == 1 and notebook[0].startswith("work: 100%") and "30/30" in notebook[0]
    assert capsys.readouterr() == ("", "")
