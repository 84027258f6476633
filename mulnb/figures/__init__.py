"""The figures: one function each, tidy frame in, matplotlib figure out; `save` writes it as PNG and SVG.

An argument has the name of the frame that it takes; the columns of all frames stand in `figures/README.md`.

Every figure has a caption with the profile, n and what its intervals are, and shows no interval where n = 1.
Figures 1, 2, 3 and 7 are numbered as in K. Zhao and P. Triantafillou, "Scalability of memorization-based machine unlearning",
arXiv 2410.16516.

| figure | function |
|---|---|
| 1: what RUM does | `overview` |
| memorization profile, examples per stratum | `memorization_profile`, `stratum_images` |
| convergence with the size of the pool | `convergence` |
| Table 1 as a picture, proxy profiles | `proxy_table`, `proxy_profiles` |
| seconds against fidelity, for proxies and pools | `fidelity` |
| 2: RUM^F against vanilla and the controls, and the paired differences behind it | `rum`, `strategy_differences`, `rum_across` |
| the same forget set in the order of each score | `crossed` |
| 3: sequential unlearning | `sequential`, `sequential_across` |
| 7: proxy values before and after each step | `before_after` |
| audits: ROC curves, examples, agreement | `audit_roc`, `audit_examples`, `audit_agreement` |
| what common mistakes do to ToW and to the ranking | `common_mistakes` |
"""

from mulnb.figures.across import rum_across, sequential_across
from mulnb.figures.audits import audit_agreement, audit_examples, audit_roc
from mulnb.figures.costs import fidelity
from mulnb.figures.diagram import overview
from mulnb.figures.forest import strategy_differences
from mulnb.figures.mistakes import common_mistakes
from mulnb.figures.orders import crossed
from mulnb.figures.plotting import save, style
from mulnb.figures.proxies import proxy_profiles, proxy_table
from mulnb.figures.refinement import rum
from mulnb.figures.scores import convergence, memorization_profile, stratum_images
from mulnb.figures.steps import before_after, sequential
