"""nbgrader's settings for the course: what takes the place of a solution, how long a cell may run."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "learning-without-labels"
c.ClearSolutions.code_stub = {"python": "# your code here"}
c.ClearSolutions.text_stub = (
    "*Your prediction, made before the run:*\n\n*What came out, and what it means:*"
)
c.Execute.timeout = (
    600  # seconds; a training in the `cpu` budget takes longer than nbgrader's 30
)
