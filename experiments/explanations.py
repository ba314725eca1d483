"""Do explanations of an answer say what they promise? Two small networks on clothes.

    python -m experiments.explanations
    python -m experiments.explanations --smoke

Paper: "Inferential Machine Learning", AlRegib and Prabhushankar, WACV 2025 tutorial,
parts 2 to 4. For a convolutional network and a transformer on Fashion-MNIST:

* VOICE (`explanations_voice.py`): do its IoU and SNR tell right answers from wrong
  ones, and do they say more than the largest softmax? Is one method, or one network,
  more reliable than another? What does noise do to the SNR?
* the three ways of masking (`explanations_games.py`): masking accuracy, insertion and
  deletion of every method beside three maps that know nothing of the network, and the
  structure-wise curves, where CausalCAM is said to need fewer bits than Grad-CAM.

Every number goes to a JSON file, and the page `explanations.md` beside this one says
what they mean. Networks, maps and answers are kept under `checkpoints/explanations`: a
run that was stopped goes on where it was. `--smoke` is the same with networks that have
hardly learnt, few images and few masks, for a look at whether all of it runs.
"""

from typing import Any

import jax
import tyro

from experiments import explanations_games, explanations_voice
from experiments import explanations_shared as shared
from experiments.explanations_shared import Study
from experiments.shared import write_numbers

STUDY = Study()

PAPER = {
    "IoU and SNR": "higher on wrong answers, and under noise",
    "CausalCAM": "15 % fewer Huffman bits than Grad-CAM (abstract, arXiv:2103.12322)",
    "SHAPE": "better insertion and deletion than RISE, and not to be understood",
    "masking accuracy": "the method with the higher one is the better one",
}
"""What is claimed; the tutorial gives no other numbers."""


def main(study: Study = STUDY, smoke: bool = False) -> dict[str, Any]:
    """Makes every number and figure, prints the tables and writes the JSON file."""
    study = shared.SMOKE if smoke else study
    networks = [shared.network(study, name, epochs) for name, epochs in study.networks]
    found: dict[str, Any] = {
        "paper": PAPER,
        "study": {
            "dataset": study.dataset,
            "images_of_voice": len(networks[0].x),
            "images_of_masks": min(study.images, len(networks[0].x)),
            "masks": study.masks,
            "num_samples": study.num_samples,
            "level_of_the_page": shared.LEVEL,
            "level_of_each_statement": study.level,
        },
        "networks": {
            one.name: {
                "epochs": dict(study.networks)[one.name],
                "accuracy": shared.mean_interval(study, one.correct),
                "errors": int((~one.correct).sum()),
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(one.params)),
            }
            for one in networks
        },
        "voice": explanations_voice.run(study, networks),
        "masks": explanations_games.run(study, networks),
    }
    path = study.numbers / f"explanations_{study.dataset}.json"
    write_numbers(path, found)
    print(f"numbers: {path}")
    return found


if __name__ == "__main__":
    tyro.cli(main)
