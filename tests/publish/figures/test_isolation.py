"""Figures have the same bytes whatever a user's matplotlib, locale and clock are set to."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from replication.publish.figures import compute, forest, style

ROOT = Path(__file__).parents[3]
USERS = {
    "text.usetex": True, "font.family": ["serif"], "font.size": 20, "figure.dpi": 33, "savefig.dpi": 300, "axes.grid": True,
    "savefig.bbox": "tight", "savefig.transparent": True, "svg.fonttype": "none", "lines.linewidth": 9,
    "axes.prop_cycle": matplotlib.cycler(color=["r"]), "axes.unicode_minus": False, "axes.formatter.use_locale": True,
    "path.sketch": (1, 100, 2), "figure.facecolor": "black", "mathtext.fontset": "stix", "text.parse_math": True,
    "figure.constrained_layout.h_pad": 1.0, "xtick.direction": "in", "legend.fancybox": False,
}  # fmt: skip
TABLE = pd.DataFrame(
    [("one", t, 0.01, -0.1, 0.1, 20, 1) for t in ("T1", "T2")],
    columns=["benchmark", "interval", "value", "low", "high", "n_tasks", "n_trials"],
)
RUNS = pd.DataFrame({"arm": ["a", "b"], "scale": "s", "params_b": 1.0, "training_seed": 0, "flops": [1e12, 3e13]})


def drawn(folder):
    """Draw two figures and return their bytes."""
    figures = {"forest": forest.draw_published(TABLE, sesoi=0.03), "compute": compute.draw(RUNS)}
    return [style.save(figure, folder / f"{name}.svg").read_bytes() for name, figure in figures.items()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("key", USERS)
def test_a_users_parameter_changes_no_byte_of_a_figure(plain, tmp_path, key):
    with matplotlib.rc_context({key: USERS[key]}):
        assert drawn(tmp_path) == plain
        assert matplotlib.rcParams[key] == USERS[key]


@pytest.mark.slow
def test_a_users_files_locale_and_clock_change_no_byte_of_a_figure_or_the_paper(plain, tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: serif\nfigure.dpi: 33\nsvg.fonttype: none\n"
    )
    (tmp_path / "t.typ").write_text('#set document(date: none)\n#image("forest.svg")\nOne $x$')
    code = (
        "import sys; from pathlib import Path; from test_isolation import drawn; import typst\n"
        "folder = Path(sys.argv[1]); drawn(folder); (folder / 't.pdf').write_bytes(typst.compile(str(folder / 't.typ'),"
        " ignore_system_fonts=True))"
    )
    pdfs = []
    for changed in (
        {},
        {"MATPLOTLIBRC": str(tmp_path), "LANG": "de_DE.UTF-8", "LC_ALL": "C", "LC_NUMERIC": "de_DE.UTF-8",
         "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1", "MPLBACKEND": "svg", "PYTHONHASHSEED": "5"},
    ):  # fmt: skip
        path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env={**os.environ, **path, **changed})
        assert [(tmp_path / f"{name}.svg").read_bytes() for name in ("forest", "compute")] == plain
        pdfs.append((tmp_path / "t.pdf").read_bytes())
    assert pdfs[0] == pdfs[1]
