"""nbgrader's settings for the course: what takes the place of a solution, how a notebook is run, what costs points."""

import os

from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute, NbGraderPreprocessor

# The checks need no long training. For the tables of *Explore* as students saw them open what they handed in.
os.environ.setdefault("SSLBOOK_BUDGET", "smoke")


class RunOnce(Execute):
    """After a cell that ran into the time limit the others get little: they mostly call the same endless loop."""

    def on_cell_executed(self, **kwargs):
        super().on_cell_executed(**kwargs)
        if kwargs["execute_reply"]["content"].get("ename") == "CellTimeoutError":
            self.timeout = min(self.timeout, 10)


class WarningsAreText(NbGraderPreprocessor):
    """Only an exception costs points. nbgrader would give 0 for a warning, a progress bar or a line of a log."""

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.name = "stdout"
        return cell, resources


c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "learning-without-labels"
c.ClearSolutions.code_stub = {"python": "# your code here"}
c.ClearSolutions.text_stub = (
    "*Your prediction, made before the run:*\n\n*What came out, and what it means:*"
)
c.Execute.timeout = 120  # seconds for a cell
c.Execute.iopub_timeout = (
    30  # and for what it printed; a busy machine takes more than the usual 4
)


_, *after = Autograde.class_traits()[
    "autograde_preprocessors"
].default()  # the first is Execute
c.Autograde.autograde_preprocessors = [RunOnce, WarningsAreText, *after]
