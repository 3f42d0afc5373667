"""Model card: the ``README.md`` of a shared model, with the front matter that the Hugging Face Hub reads."""

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ipsam.data.benchmarks import benchmark
from ipsam.data.data import SYNTHETIC
from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.model_folder import own_sets, trained_sets
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES

OTHER = "other"  # the Hub's name of a licence that it does not know
TASK, LIBRARY = "image-segmentation", "ipsam"
TAGS = ("camouflaged-object-detection", TASK)
HUB_DATASET = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
USE = """\
```python
import ipsam

model = ipsam.load("{id}"){comment}
result = model.predict("image.jpg")
result.overlay().save("overlay.png")
```"""
CITATION = """\
```bibtex
@misc{ipsam,
  title  = {IP-SAM: Prompt-Space Conditioning for Prompt-Absent Camouflaged Object Detection},
  note   = {Technology and Engineering Center for Space Utilization, Chinese Academy of Sciences}
}
```"""


def model_card(description: dict[str, Any], base_sha256: str | None, *, repo_id: str | None = None) -> str:
    """Write the text of the model's ``README.md``.

    Args:
        description: as ``config.json`` holds it.
        base_sha256: of the pretrained weights that the model needs besides; None if it needs none.
        repo_id: of the model on the Hub; without it the example loads the folder in which it runs.
    """
    model = description["model"]
    backbone = model.get("backbone") or {}
    needs = "It needs no other weights."
    if base_sha256:
        needs = (
            f"It needs `{backbone.get('checkpoint')}` (sha256 `{base_sha256}`) besides, which is downloaded once when "
            "the model is loaded."
        )
    letterboxed = " (letterboxed)" if description.get("letterbox") else ""
    summary = (
        f"Draws the mask of an image's objects without prompts. `{model.get('_target_')}` on the "
        f"{backbone.get('variant') or backbone.get('name')} backbone, at {description['image_size']} px{letterboxed}, "
        f"trained on {training_data(description)}. {needs}"
    )
    comment = "" if repo_id else "  # this folder; or its id on the Hub"
    parts = [
        f"---\n{_front_matter(description).to_yaml(line_break=chr(10))}\n---",
        f"# {_title(description)}",
        summary,
        terms_of_use(description),
        USE.format(id=repo_id or ".", comment=comment),
        _made_by(description),
        _score_table(description),
        CITATION,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def training_data(description: dict[str, Any]) -> str:
    """Name the training sets of a model, and the model that its training started from, if any."""
    own = _listed(own_sets(description.get("trained_on") or []))
    start = description.get("started_from")
    if not isinstance(start, dict):
        return own
    earlier = _listed(map(str, start.get("trained_on") or []))
    return f"{own} from the weights of {start.get('name') or 'another model'} (trained on {earlier})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join("synthetic scenes" if name == SYNTHETIC else name for name in names) or "unrecorded data"


def terms_of_use(description: dict[str, Any]) -> str:
    """Say that the terms of the training data apply, and state those known; an empty text if they don't apply."""
    if not data_terms(description) or description.get("license", OTHER) != OTHER:
        return ""
    known = [f"{name}: {terms}" for name, terms in data_terms(description).items() if terms]
    stated = "; ".join([*([str(description["terms"])] if description.get("terms") else []), *known])
    return f"The terms of its training data apply to it{f': {stated}' if stated else ''}."


def introduction(description: dict[str, Any], name: str) -> tuple[str, str]:
    """Return a title for what shows the model ``name``, and a text on its training data and their terms."""
    about = f"Trained on {training_data(description)}. {terms_of_use(description)}".strip()
    return f"IP-SAM: {description.get('name') or name}", about


def data_terms(description: dict[str, Any]) -> dict[str, str | None]:
    """Return the terms of use of each training set that was not generated; None where they are not known."""
    terms: dict[str, str | None] = {}
    start = description.get("started_from")
    earlier = start if isinstance(start, dict) else {}
    for name in trained_sets(description):
        if name != SYNTHETIC:
            try:
                known = benchmark(name)
                terms[name] = f"{known.terms} ({known.page})"
            except ValueError:
                is_earlier = name in map(str, earlier.get("trained_on") or [])
                terms[name] = str(earlier["terms"]) if is_earlier and earlier.get("terms") else None
    return terms


def _title(description: dict[str, Any]) -> str:
    return str(description.get("name") or "An ipsam model")


def _front_matter(description: dict[str, Any]) -> ModelCardData:
    names = [name for name in trained_sets(description) if name != SYNTHETIC and HUB_DATASET.fullmatch(name)]
    tags = description.get("tags")
    more = {"data_terms": description["terms"]} if description.get("terms") else {}
    return ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=TASK,
        license=description["license"],
        base_model=description.get("base_model") or _official_base(description),
        datasets=names or None,
        tags=[*TAGS, *map(str, tags if isinstance(tags, list) else ())],
        model_name=_title(description),
        eval_results=_results(description) or None,
        **more,
    )


def _official_base(description: dict[str, Any]) -> str | None:
    """Return the Hub's id of the official SAM2 weights that a model builds on."""
    file = (description["model"].get("backbone") or {}).get("checkpoint")
    return f"facebook/{file.removesuffix('.pt').replace('_', '-')}" if file in OFFICIAL_FILES else None


def _results(description: dict[str, Any]) -> list[EvalResult]:
    """List the scores as entries of the Hub's ``model-index``."""
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=re.sub(r"[^\w.-]+", "-", name),
            dataset_name=name,
            dataset_split="test",
            metric_type=metric,
            metric_name=METRICS[metric].label,
            metric_value=round(scores[metric], 4),
        )
        for name, scores in _scores(description).items()
        for metric in HEADLINE
    ]


def _made_by(description: dict[str, Any]) -> str:
    command, made_with = description.get("command"), description.get("made_with")
    if not isinstance(command, list) or not all(isinstance(one, str) and one.isprintable() for one in command):
        return ""
    made = f"Made by:\n\n```bash\n{shlex.join(['ipsam', 'train', *command])}\n```"
    if not isinstance(made_with, dict) or not all(isinstance(one, str) and one.isprintable() for one in made_with):
        return made
    return f"{made}\n\nWith {', '.join(f'{name} {value!s:.60}' for name, value in made_with.items())}."


def _scores(description: dict[str, Any]) -> dict[str, Mapping[str, float]]:
    """Return the complete scores by test set."""
    metrics = description.get("metrics")
    columns, sets = ("num_images", *HEADLINE), metrics.items() if isinstance(metrics, dict) else ()
    return {
        str(name): scores
        for name, scores in sets
        if isinstance(scores, dict) and all(isinstance(scores.get(column), int | float) for column in columns)
    }


def _score_table(description: dict[str, Any]) -> str:
    rows = [
        [name, f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in HEADLINE)]
        for name, scores in _scores(description).items()
    ]
    if not rows:
        return ""
    table = markdown(["test set", "images", *(METRICS[metric].label for metric in HEADLINE)], rows)
    protocol = "Scores by PySODMetrics' definitions; E-measure is the mean, Dice and IoU are means over 256 thresholds"
    return f"{protocol}:\n\n{table}"
