"""The page of the data doctor is one page."""

from dpcl_dprnn.doctor.report import PAGE, Kind, Problem, Report


def test_page_shows_few_names_of_each_kind():
    report = Report("mixtures", ["fact"], ["note"])
    report.problems = [
        Problem(Kind.SILENT, f"/data/s/{number}.wav") for number in range(7)
    ]
    report.problems += report.problems  # seen twice, in two data sets
    report.problems.append(Problem(Kind.UNEQUAL, "/data/é.wav", "5 samples"))
    assert report.page("/data").splitlines() == [
        "/data: mixtures",
        "fact",
        "  note: note",
        "8 problems:",
        f"  7 {Kind.SILENT.title}. {Kind.SILENT.advice}",
        *(f"    s/{number}.wav" for number in range(5)),
        "    and 2 more",
        f"  1 {Kind.UNEQUAL.title}. {Kind.UNEQUAL.advice}",
        "    é.wav (5 samples)",
    ]


def test_page_stays_a_page():
    """All kinds at once, many of each: still some name for every kind."""
    report = Report("mixtures", ["fact"] * 6)
    for kind in list(Kind)[:10]:
        report.problems += [Problem(kind, f"{kind}{n}") for n in range(9)]
    lines = report.page("/data").splitlines()
    assert len(lines) <= PAGE
    assert sum(line == "    and 8 more" for line in lines) == 10
