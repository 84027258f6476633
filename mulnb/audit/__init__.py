"""How well was it forgotten: accuracies, membership attacks, and the distance to models that never saw the forget set.

ToW, ToW-MIA and the SVC attack are the paper's (METHOD §7). LiRA, RMIA, KLoM and relearn time go beyond it (METHOD §7b).

- `tug_of_war`: ToW and ToW-MIA, arithmetic on accuracies
- `attack`: the SVC membership attack on one model's outputs
- `evaluation`: a model's accuracies and the efficacy of every SVC attack
- `margins`: the logit margin, the one signal that all audits beyond the paper read
- `lira`, `rmia`: per-example membership scores against the pool as shadow models; `membership` runs both on S against T
- `klom`: the distance between unlearned and oracle models, example by example
- `relearn`: how fast a model learns the forget set again
- `roc`: AUC and TPR at a fixed FPR, with intervals
- `compare`: where the audits disagree about the ranking of methods

Importing this package does not load torch: stored margins are read with numpy alone.
"""

from mulnb.audit import compare, klom, lira, margins, membership, relearn, rmia, roc
from mulnb.audit.attack import ATTACKS, attack_features, mia
from mulnb.audit.evaluation import evaluate, evaluate_outputs
from mulnb.audit.tug_of_war import tow, tow_mia
