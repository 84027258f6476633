"""LiRA and RMIA on an unlearned model: can S, once trained on, be told from T, never seen?

Pool models were trained on parts of D, and none on T. So that S and T are treated alike, both attacks are used in their offline
form: only models that did not see an example say what is normal for it. LiRA shares one standard deviation between S and T.

Read an AUC beside the oracle's, not beside .5. Pool models are trained on fewer examples than an oracle, and a forget set that
was chosen by scores of the same pool is not a random sample. Both move the oracle's AUC, and the unlearned model's with it.
Seen on digits, with the three strata of memorization as S and ten models each: LiRA .53 (oracle) and .84 (original), RMIA .32
and .84.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulnb.audit import lira, rmia, roc
from mulnb.core.errors import UserError


@dataclass(frozen=True)
class Scores:
    """Membership scores of the forget set and of the test set under one model, higher for a member."""

    lira_forget: np.ndarray  # [|S|]
    lira_test: np.ndarray  # [|T|]
    rmia_forget: np.ndarray  # [|S|]
    rmia_test: np.ndarray  # [|T|]

    def summary(self) -> dict[str, float]:
        """`lira_auc lira_tpr01 lira_tpr001 rmia_auc`: columns of the frame `unlearning`; all in [0, 1].

        The two TPRs are those at 1 % and at .1 % FPR. With fewer than 1 000 examples in T, the second allows no false positive.
        """
        return {
            "lira_auc": roc.auc(self.lira_forget, self.lira_test),
            "lira_tpr01": roc.tpr(self.lira_forget, self.lira_test, fpr=0.01),
            "lira_tpr001": roc.tpr(self.lira_forget, self.lira_test, fpr=0.001),
            "rmia_auc": roc.auc(self.rmia_forget, self.rmia_test),
        }


@dataclass(frozen=True)
class Shadow:
    """What the pool says of every example of D and T when it was not trained on it; made once a pool by `Shadow.of`."""

    out_mean: np.ndarray  # [N], margins
    test_mean: np.ndarray  # [|T|]
    std: float  # of margins, within an example, over D and T
    p_out: np.ndarray  # [N], probabilities of the true class
    p_test: np.ndarray  # [|T|]

    @classmethod
    def of(cls, pool_margin: np.ndarray, member: np.ndarray, pool_margin_test: np.ndarray) -> Shadow:
        """Read a pool.

        Args:
            pool_margin: [M, N], margins of D under the pool's models.
            member: bool [M, N], model j was trained on example i.
            pool_margin_test: [M, |T|], margins of T.

        Returns:
            The references for `scores`.

        Raises:
            UserError: the shapes do not fit, or an example has fewer than 8 models that were not trained on it.
        """
        member = np.asarray(member, dtype=bool)
        if pool_margin.shape != member.shape or len(pool_margin_test) != len(member):
            raise UserError(
                f"pool margins {pool_margin.shape} of D and {pool_margin_test.shape} of T, member {member.shape}: "
                "expected [M, N], [M, |T|] and [M, N]"
            )
        lira.check(member)

        n = member.shape[1]
        unseen = np.zeros(pool_margin_test.shape, dtype=bool)
        everything = np.concatenate([pool_margin, pool_margin_test], axis=1)  # [M, N + |T|]
        trained_on = np.concatenate([member, unseen], axis=1)

        outside = lira.gaussians(everything, ~trained_on)
        p_out = rmia.out_probability(everything, trained_on)

        return cls(outside.mean[:n], outside.mean[n:], float(outside.std[0]), p_out[:n], p_out[n:])

    def scores(self, margin: np.ndarray, margin_test: np.ndarray, forget: np.ndarray) -> Scores:
        """Both attacks on one model.

        Args:
            margin: [N], the model's margins of D.
            margin_test: [|T|], of T.
            forget: positions of S in D.

        Returns:
            The scores of S and T.
        """
        margin, margin_test = np.asarray(margin), np.asarray(margin_test)

        ratio_forget = rmia.ratio(margin[forget], self.p_out[forget])
        ratio_test = rmia.ratio(margin_test, self.p_test)

        return Scores(
            lira_forget=lira.offline(margin[forget], self.out_mean[forget], self.std),
            lira_test=lira.offline(margin_test, self.test_mean, self.std),
            rmia_forget=rmia.offline(ratio_forget, ratio_test),
            rmia_test=rmia.offline(ratio_test, ratio_test),
        )
