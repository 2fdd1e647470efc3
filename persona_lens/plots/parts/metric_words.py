"""What figures call the metrics of a sweep, what each means, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """One metric in words.

    Attributes:
        title: Above the panel.
        note: What the number is, in a sentence.
        chance: What it is where nothing can be read; None where that depends on the data.
    """

    title: str
    note: str = ""
    chance: float | None = None


METRICS = {
    "identity": Words(
        "Which role or trait is it? (identity probe, held out)",
        "Share of wrong roles or traits that score below the right one.",
        0.5,
    ),
    "identity_top1": Words(
        "Exactly which one? (identity probe, held out)",
        "Share of replies whose own role or trait scores highest.",
    ),
    "auc": Words(
        "Told from its opposite (difference of means, held out)",
        "AUC: role against default, positive against negative side of a trait.",
        0.5,
    ),
    "auc_probe": Words(
        "Told from its opposite (linear probe, held out)",
        "AUC of a linear probe with shrunk covariance.",
        0.5,
    ),
    "d_prime": Words(
        "How far apart? (d′, held out)",
        "Distance of the two sides along the difference of means, in standard deviations.",
        0.0,
    ),
    "silhouette": Words("How tight are the clusters? (silhouette)", "Of unit-length replies.", 0.0),
    "fisher": Words(
        "Between against within (Fisher ratio)",
        "Variance between means over variance within, of unit-length replies.",
    ),
    "reliability": Words(
        "Same direction twice? (reliability)",
        "Cosine of the vectors from two disjoint halves of questions and prompts.",
        0.0,
    ),
    "split_half": Words(
        "Same direction twice? (split half)",
        "Cosine of the vectors from two halves of the questions.",
        0.0,
    ),
    "split_half_spearman_brown": Words(
        "Same direction twice, with all questions? (Spearman-Brown)",
        "Cosine of two halves, corrected for twice the questions.",
        0.0,
    ),
    "participation_ratio": Words(
        "How many dimensions? (participation ratio)", "Dimensions that the vectors fill."
    ),
    "participation_ratio_unit": Words(
        "How many dimensions, at unit length? (participation ratio)",
        "Dimensions that the vectors fill once all have length one.",
    ),
    "components_70": Words(
        "Components for 70 % of the variance", "Of traits: of the squared length."
    ),
    "components_90": Words(
        "Components for 90 % of the variance", "Of traits: of the squared length."
    ),
    "components_70_unit": Words(
        "Components for 70 %, at unit length", "Of the squared length of vectors of length one."
    ),
    "axis_pc1": Words(
        "Does PC1 lie along the axis?", "|cosine| of the first component with the Assistant Axis."
    ),
    "axis_cosine": Words(
        "How much of each lies along the axis?",
        "|cosine| with the Assistant Axis, mean over vectors.",
    ),
    "similarity_to_next": Words(
        "Same arrangement as in the next layer?",
        "Correlation of the cosines of all pairs with those one layer on.",
        0.0,
    ),
    "similarity_to_last": Words(
        "Same arrangement as in the last layer?",
        "Correlation of the cosines of all pairs with those of the last layer.",
        0.0,
    ),
    "roles_in_traits": Words(
        "Roles within the space of traits", "Share of variance within the first 10 components."
    ),
    "traits_in_roles": Words(
        "Traits within the space of roles",
        "Share of squared length within the first 10 components.",
    ),
    "principal_angles": Words(
        "Do the two spaces share directions?",
        "Mean cosine of the principal angles of 10 components each.",
    ),
}

MEASURES = {
    "pc_loadings": Words(
        "Same component, same roles?",
        "|r| of the loadings on component k of the one and of the other.",
    ),
    "pc_matched": Words(
        "Components matched one to one", "|r| of the loadings on the component that fits best."
    ),
    "axis_ranks": Words("Same order along the axis?", "Spearman correlation of the places.", 0.0),
    "similarity": Words("Same arrangement?", "Correlation of the cosines of all pairs.", 0.0),
    "cka": Words("Linear CKA", "Without its bias.", 0.0),
    "procrustes": Words(
        "Can one be turned into the other?", "Held-out R² of rotation, scale and shift."
    ),
    "axis_cosine": Words("Same axis?", "Cosine of the two axes."),
    "pc_cosine": Words("Same components?", "|cosine| of components matched one to one."),
}


def words_for(name: str, known: dict[str, Words]) -> Words:
    """The words for a metric; one that nobody knows is called by its name.

    Examples:
        >>> words_for("longest_share", METRICS).title
        'Longest share'
    """
    return known.get(name) or Words(name.replace("_", " ").capitalize())
